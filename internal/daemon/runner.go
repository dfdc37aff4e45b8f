package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/sandbox"
)

// runner gives every job a sandbox of its own: the scheduler's Runner.
type runner struct {
	host   *sandbox.Host
	images *images.Catalogue
	log    *slog.Logger
}

// destroyBound bounds the clean-up after a job, on a context of its own.
const destroyBound = 30 * time.Second

// Run implements scheduler.Runner.
func (r *runner) Run(ctx context.Context, spec *job.Spec, watch job.Observer) (*job.Result, error) {
	turn := time.Now()
	use, err := r.images.Use(spec.Image)
	if err != nil {
		return r.noImage(spec, err)
	}
	defer use.Release()
	boot, cancel := context.WithDeadlineCause(ctx, turn.Add(spec.StartupTimeout), sandbox.ErrStartup)
	defer cancel()
	s, err := r.host.Boot(boot, sandbox.Shape{
		Root: use.Root, Config: use.Config, Language: spec.Language, Command: spec.Command, Environment: spec.Environment, Limits: spec.Limits,
	})
	if err != nil {
		return r.notBooted(ctx, spec, turn, err)
	}
	var raw *job.RawStdout
	if spec.RawStdout {
		raw = &job.RawStdout{Observer: watch, Limit: spec.Limits.Stdout}
		watch = raw
	}
	result, err := s.Run(ctx, spec, turn, watch)
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
	defer cancel()
	if err := s.Destroy(clean); err != nil {
		r.log.Error("clean up after a job", "job", spec.ID, "error", err)
	}
	if err != nil {
		return r.notBooted(ctx, spec, turn, err)
	}
	if raw != nil {
		raw.Attach(result)
	}
	return result, nil
}

// noImage is the result of a job whose image is not there.
func (r *runner) noImage(spec *job.Spec, err error) (*job.Result, error) {
	if !errors.Is(err, images.ErrNotFound) {
		return nil, fmt.Errorf("use image %q: %w", spec.Image, err)
	}
	return job.FailedResult(job.ErrConfig, job.PhaseStartup, fmt.Sprintf(
		"Job type '%s' needs the image '%s', which is not in the catalogue: import it with: tsubo images import PATH --name %s",
		spec.Type, spec.Image, spec.Image)), nil
}

// notBooted turns the end of a job whose code never ran into a result, or passes on what is tsubo's own failure.
func (r *runner) notBooted(ctx context.Context, spec *job.Spec, turn time.Time, err error) (*job.Result, error) {
	var broken *sandbox.ImageError
	if errors.As(err, &broken) {
		r.log.Warn("image cannot run its job type", "job", spec.ID, "type", spec.Type, "image", spec.Image, "error", err)
		return job.FailedResult(job.ErrConfig, job.PhaseStartup,
			fmt.Sprintf("Image '%s' cannot run job type '%s': %s", spec.Image, spec.Type, broken.Message)), nil
	}
	facts := job.Facts{Phase: job.PhaseStartup, Timeout: spec.Timeout, StartupTimeout: spec.StartupTimeout}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, job.ErrShutdown):
		facts.Cause = job.Interrupted
	case cause != nil:
		facts.Cause = job.CancelRequested
	case errors.Is(err, sandbox.ErrStartup):
		facts.Cause = job.StartupOverrun
	default:
		return nil, err
	}
	v := job.Classify(facts)
	return &job.Result{Status: v.Status, ExitCode: v.ExitCode, Error: v.Error, StartedAt: turn, EndedAt: time.Now()}, nil
}
