package daemon

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
)

// syncOnly is the scheduler as a surface sees it that has synchronous runs only.
type syncOnly struct{ *scheduler.Scheduler }

// Execute implements api.Executor.
func (s syncOnly) Execute(ctx context.Context, spec *job.Spec, o job.Observer) (*job.Result, error) {
	_, result, err := s.Scheduler.Execute(ctx, job.Submission{Spec: spec}, false, o)
	return result, err
}

// forgetful is a store that keeps nothing.
type forgetful struct{}

func (forgetful) Accept(context.Context, *job.Record, *job.Request) (*job.Record, error) {
	return nil, job.Refuse(job.Unready, "There is no store for asynchronous jobs")
}
func (forgetful) Queued(context.Context) ([]job.Record, error)                { return nil, nil }
func (forgetful) Running(context.Context) ([]job.Record, error)               { return nil, nil }
func (forgetful) Get(context.Context, string) (*job.Record, error)            { return nil, job.ErrNotFound }
func (forgetful) Request(context.Context, string) (*job.Request, error)       { return nil, job.ErrNotFound }
func (forgetful) Begin(context.Context, string, int, string, time.Time) error { return job.ErrNotFound }
func (forgetful) Renew(context.Context, string, time.Time) error              { return nil }
func (forgetful) Requeue(context.Context, string) error                       { return job.ErrNotFound }
func (forgetful) Finish(context.Context, *job.Record, []job.Artifact) error   { return job.ErrNotFound }
func (forgetful) Save(*job.Record, *job.Request, []job.Artifact)              {}
func (forgetful) Dead(context.Context, *job.DeadLetter) error                 { return nil }
