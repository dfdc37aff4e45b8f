package api

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"

	"github.com/tsubo-run/tsubo/job"
)

// Jobs admits, runs and ends jobs. A *job.Refusal among its errors reports that nothing of the job
// is there.
type Jobs interface {
	// Execute runs a job to its end and returns its result as a value. It returns soon after ctx is
	// done. The record is kept afterwards if keep is set. Once the job is admitted, watch, which
	// may be nil, gets its stream from the first event on, and returns at once.
	Execute(ctx context.Context, s job.Submission, keep bool, watch func(iter.Seq[job.Event])) (*job.Record, *job.Result, error)
	// Submit accepts a job durably. existed reports that the record is an earlier one under the
	// same idempotency key; the error is job.ErrFingerprint when that one was asked for with
	// another payload.
	Submit(ctx context.Context, s job.Submission) (record *job.Record, existed bool, err error)
	// Cancel ends a job that waits or runs and reports whether there was one.
	Cancel(ctx context.Context, id string) (bool, error)
	// Live is where a job is that waits or runs.
	Live(id string) (job.Live, bool)
	// Running are the records of the synchronous runs that run now, in no order: Store has none of
	// them.
	Running() []*job.Record
	// Wait returns when the job has ended and its record can be read, or with the error of ctx. A
	// job that is not live has ended.
	Wait(ctx context.Context, id string) error
	// Events is the stream of a job that waits, runs, or has ended a short time ago, from the event
	// after the one with this id on; false when there is no such stream. It ends after the result,
	// when ctx ends, and when it breaks.
	Events(ctx context.Context, id string, after uint64) (iter.Seq[job.Event], bool)
	Stats() job.QueueStats
}

// Store keeps records. job.ErrNotFound and job.ErrNotTerminal are among its errors.
type Store interface {
	Get(ctx context.Context, id string) (*job.Record, error)
	// Each calls do for every record of the page, in the order of the listing, and stops at its
	// first error, which it returns.
	Each(ctx context.Context, f job.Filter, do func(*job.Record) error) (more bool, err error)
	Request(ctx context.Context, id string) (*job.Request, error)
	Delete(ctx context.Context, id string) error
	// Open returns the bytes of an artifact; the caller closes it.
	Open(ctx context.Context, sha256 string) (*os.File, error)
	DeadLetters(ctx context.Context, caller, errorType string, limit, offset int) (items []job.DeadLetter, more bool, err error)
	DeadStats(ctx context.Context) (total int, byType map[string]int, err error)
	RemoveDead(ctx context.Context, id int64) error
	// Check reads everything that is kept and reports what is damaged, one error joined for each
	// finding.
	Check(ctx context.Context) error
	// WriteBackup writes a tar stream of everything that is kept, as it is at one moment.
	WriteBackup(ctx context.Context, w io.Writer) error
}

// Images is the catalogue. Import reads an OCI archive (a tar of an image layout) to its end and
// makes it known under name; a *job.Refusal reports what is wrong with it. After an error nothing
// of it is left. archive is not used after Import has returned.
type Images interface {
	List(ctx context.Context) ([]job.Image, error)
	Import(ctx context.Context, name string, archive io.Reader) (job.Image, error)
}

// Facts is what the daemon knows about itself for GET /health.
type Facts struct {
	Ready   bool // start-up is over
	GVisor  bool // the self-test of runsc passed
	Breaker job.Breaker
	// Sandboxes is what waits for jobs.
	Sandboxes job.SandboxStats
}

// Policy is the part of the configuration about requests. All fields are required except HeldBytes,
// AdminUIDs, Auth and ProductionMode.
type Policy struct {
	job.Policy

	MaxPayloadBytes int64 // any request body except an archive
	MaxArchiveBytes int64 // POST /images
	// HeldBytes bounds the bodies and answers in memory, of all requests together; one caller's
	// have half. 0 is DefaultHeldBytes, the least is four times MaxPayloadBytes.
	HeldBytes int64

	AdminUIDs      []uint32 // besides 0
	AllowedUIDs    []uint32 // who besides admins may use the Unix socket; empty: whoever its mode lets connect
	Auth           Auth     // callers on TCP, and how often anybody may ask
	ProductionMode bool     // shown in /health only (ruling 6)
}

func (p *Policy) check() error {
	if p.MaxPayloadBytes <= 0 || p.MaxArchiveBytes <= 0 {
		return errors.New("policy: a limit on bodies is not set")
	}
	return p.Check()
}
