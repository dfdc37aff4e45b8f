package pool

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/sandbox"
)

// Host boots sandboxes. [Of] returns a Host with the contracts of *sandbox.Host.
type Host interface {
	Boot(ctx context.Context, shape sandbox.Shape) (Sandbox, error)
	BootSentry(ctx context.Context, size sandbox.Size) (Sentry, error)
}

// Sandbox is a booted sandbox without a job. Its contracts are those of *sandbox.Sandbox.
type Sandbox interface {
	Run(ctx context.Context, spec *job.Spec, turn time.Time, watch job.Observer) (*job.Result, error)
	Waiting() error
	Footprint() int64
	Destroy(ctx context.Context) error
}

// Sentry is a booted sandbox without an image. Add consumes it, even on error.
type Sentry interface {
	Add(ctx context.Context, shape sandbox.Shape) (Sandbox, error)
	Waiting() error
	Footprint() int64
	Destroy(ctx context.Context) error
}

// Of returns h as a [Host].
func Of(h *sandbox.Host) Host { return real{h} }

type real struct{ h *sandbox.Host }

func (r real) Boot(ctx context.Context, shape sandbox.Shape) (Sandbox, error) {
	s, err := r.h.Boot(ctx, shape)
	if err != nil {
		return nil, err // a nil pointer in an interface is not nil
	}
	return s, nil
}

func (r real) BootSentry(ctx context.Context, size sandbox.Size) (Sentry, error) {
	s, err := r.h.BootSentry(ctx, size)
	if err != nil {
		return nil, err
	}
	return realSentry{s}, nil
}

type realSentry struct{ *sandbox.Sentry }

func (s realSentry) Add(ctx context.Context, shape sandbox.Shape) (Sandbox, error) {
	b, err := s.Sentry.Add(ctx, shape)
	if err != nil {
		return nil, err
	}
	return b, nil
}
