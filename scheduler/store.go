package scheduler

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Store is the durable part of the job state. Accept, Finish and Requeue return after the commit.
// Terminal records never change.
type Store interface {
	// Accept stores and syncs a new job before the caller gets an answer. If the caller already has
	// a record with the same idempotency key, Accept returns that record and stores nothing. If the
	// fingerprints differ, it returns job.ErrFingerprint.
	Accept(ctx context.Context, rec *job.Record, req *job.Request) (existing *job.Record, err error)
	// Queued and Running return the jobs that the last daemon left behind, oldest first.
	Queued(ctx context.Context) ([]job.Record, error)
	Running(ctx context.Context) ([]job.Record, error)
	Get(ctx context.Context, id string) (*job.Record, error)
	Request(ctx context.Context, id string) (*job.Request, error)
	// Begin sets the start mark. The mark is committed when Begin returns and synced with the next
	// group.
	Begin(ctx context.Context, id string, attempt int, worker string, lease time.Time) error
	// Renew extends the leases of a holder's running jobs.
	Renew(ctx context.Context, worker string, until time.Time) error
	// Requeue clears the start mark.
	Requeue(ctx context.Context, id string) error
	// Finish makes the record terminal, stores its artifacts, syncs both and fills rec.Artifacts.
	Finish(ctx context.Context, rec *job.Record, artifacts []job.Artifact) error
	// Save stores the record of a finished synchronous run on a best-effort basis. It does not
	// block.
	Save(rec *job.Record, req *job.Request, artifacts []job.Artifact)
	Dead(ctx context.Context, letter *job.DeadLetter) error
	// ByKey returns the record with an idempotency key without accepting a job. A caller who
	// repeats a submission gets the first job even while the queue is full. job.ErrNotFound means
	// that the caller has no record with that key.
	ByKey(ctx context.Context, caller, key string) (*job.Record, error)
}
