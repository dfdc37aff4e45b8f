package scheduler

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Store keeps what must outlive the daemon. Accept, Finish and Requeue return after the commit; a
// terminal record is never changed again.
type Store interface {
	// Accept keeps a new job, synced, before it is answered. A record of the same caller under the
	// same idempotency key comes back instead of being made again; job.ErrFingerprint reports that
	// it was asked for with something else.
	Accept(ctx context.Context, rec *job.Record, req *job.Request) (existing *job.Record, err error)
	// Queued and Running are what was left at the last end, oldest first.
	Queued(ctx context.Context) ([]job.Record, error)
	Running(ctx context.Context) ([]job.Record, error)
	Get(ctx context.Context, id string) (*job.Record, error)
	Request(ctx context.Context, id string) (*job.Request, error)
	// Begin is the start mark: it is committed when Begin returns, and synced with the next group.
	Begin(ctx context.Context, id string, attempt int, worker string, lease time.Time) error
	// Renew moves the leases of a holder's running jobs.
	Renew(ctx context.Context, worker string, until time.Time) error
	// Requeue takes the start mark back.
	Requeue(ctx context.Context, id string) error
	// Finish makes the record terminal, synced, with its artifacts, and fills rec.Artifacts.
	Finish(ctx context.Context, rec *job.Record, artifacts []job.Artifact) error
	// Save keeps the record of a synchronous run, afterwards and as well as it can. It does not
	// wait.
	Save(rec *job.Record, req *job.Request, artifacts []job.Artifact)
	Dead(ctx context.Context, letter *job.DeadLetter) error
	// ByKey looks an idempotency key up without accepting a job, so that a caller who asks again
	// gets the first job also while the queue is full. job.ErrNotFound: the caller has no record
	// under that key.
	ByKey(ctx context.Context, caller, key string) (*job.Record, error)
}
