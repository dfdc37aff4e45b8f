package daemon

import (
	"context"
	"os"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

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

func (forgetful) Each(context.Context, job.Filter, func(*job.Record) error) (bool, error) {
	return false, nil
}
func (forgetful) Delete(context.Context, string) error           { return job.ErrNotFound }
func (forgetful) Open(context.Context, string) (*os.File, error) { return nil, job.ErrNotFound }
func (forgetful) DeadLetters(context.Context, string, string, int, int) ([]job.DeadLetter, bool, error) {
	return nil, false, nil
}
func (forgetful) DeadStats(context.Context) (int, map[string]int, error) { return 0, nil, nil }
func (forgetful) RemoveDead(context.Context, int64) error                { return job.ErrNotFound }
