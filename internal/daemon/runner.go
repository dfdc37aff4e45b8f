package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/pool"
	"github.com/tsubo-run/tsubo/sandbox"
)

// runner gives every job a sandbox of its own: the scheduler's Runner.
type runner struct {
	pool   *pool.Pool
	images *images.Catalogue
	// environment is that of a job type, by its name.
	environment func(jobType string) map[string]string
	log         *slog.Logger

	clearing sync.WaitGroup // clean-ups after an answer
}

// destroyBound bounds the clean-up after a job, on a context of its own.
const destroyBound = 30 * time.Second

// answerFirst is how long the clean-up leaves the CPU to the answer.
const answerFirst = 5 * time.Millisecond

// Run implements scheduler.Runner. It returns before the sandbox is destroyed; Result.Cleared is
// closed when that is done.
func (r *runner) Run(ctx context.Context, spec *job.Spec, watch job.Observer) (*job.Result, error) {
	turn := time.Now()
	use, err := r.images.Use(spec.Image)
	if err != nil {
		return r.noImage(spec, err)
	}
	boot, cancel := context.WithDeadlineCause(ctx, turn.Add(spec.StartupTimeout), sandbox.ErrStartup)
	defer cancel()
	taken, err := r.pool.Take(boot, shapeOf(use, spec, bootEnvironment(spec, r.environment(spec.Type))))
	if err != nil {
		use.Release()
		return r.notBooted(ctx, spec, turn, err)
	}
	var raw *job.RawStdout
	if spec.RawStdout {
		raw = &job.RawStdout{Observer: watch, Limit: spec.Limits.Stdout}
		watch = raw
	}
	turn = taken.Begun // the wait for the boots of others is a wait for a slot
	result, err := taken.Run(ctx, spec, turn, watch)
	if err != nil {
		r.clear(ctx, taken, use, spec.ID)
		return r.notBooted(ctx, spec, turn, err)
	}
	if raw != nil {
		raw.Attach(result)
	}
	tier := string(taken.Tier)
	result.Timing.Sandbox = &tier
	cleared := make(chan struct{})
	result.Cleared = cleared
	r.clearing.Add(1)
	go func() {
		defer r.clearing.Done()
		defer close(cleared)
		time.Sleep(answerFirst)
		r.clear(ctx, taken, use, spec.ID)
	}()
	return result, nil
}

// clear destroys the sandbox. When that fails the image stays leased, since something of the
// sandbox may still use it.
func (r *runner) clear(ctx context.Context, taken *pool.Taken, use *images.Use, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
	defer cancel()
	if err := taken.Destroy(ctx); err != nil {
		r.log.Error("clean up after a job", "job", id, "error", err)
		return
	}
	use.Release()
}

// close returns when every clean-up is done.
func (r *runner) close() error {
	r.clearing.Wait()
	return nil
}

// shapeOf is what a job needs to be settled when its sandbox boots.
func shapeOf(use *images.Use, spec *job.Spec, environment map[string]string) sandbox.Shape {
	return sandbox.Shape{
		Root: use.Root, Config: use.Config, Language: spec.Language, Command: spec.Command, Workdir: spec.Workdir, Preload: spec.Preload, Environment: environment,
		Limits: spec.Limits,
	}
}

// bootEnvironment is what of a job's environment must be there when its sandbox boots: its type's,
// so that one that waits will do; and the whole of it when the job changes a variable that the
// waiting interpreter has read by the time the job comes. The rest is set at the hand-over.
func bootEnvironment(spec *job.Spec, ofType map[string]string) map[string]string {
	if spec.Language == job.Command || maps.Equal(spec.Environment, ofType) {
		return ofType
	}
	for key, value := range spec.Environment {
		if old, ok := ofType[key]; (!ok || old != value) && readEarly(key) {
			return spec.Environment
		}
	}
	return ofType
}

// readEarly reports whether a dynamic loader, a C library or an interpreter reads the variable when
// it starts, or once and for all.
func readEarly(key string) bool {
	for _, prefix := range []string{"HOME", "PYTHON", "NODE", "UV_", "LD_", "LC_", "LANG", "LOCPATH", "NLSPATH", "GCONV_PATH", "GLIBC_", "MALLOC_", "TZ", "ICU_", "OPENSSL_", "SSL_"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// noImage is the result of a job whose image is not there.
func (r *runner) noImage(spec *job.Spec, err error) (*job.Result, error) {
	if !errors.Is(err, images.ErrNotFound) {
		return nil, fmt.Errorf("use image %q: %w", spec.Image, err)
	}
	return job.FailedResult(job.TypeConfig, job.PhaseStartup, fmt.Sprintf(
		"Job type '%s' needs the image '%s', which is not in the catalogue: import it with: tsubo images import PATH --name %s",
		spec.Type, spec.Image, spec.Image)), nil
}

// notBooted turns the end of a job whose code never ran into a result, or passes on what is tsubo's
// own failure.
func (r *runner) notBooted(ctx context.Context, spec *job.Spec, turn time.Time, err error) (*job.Result, error) {
	var broken *sandbox.ImageError
	if errors.As(err, &broken) {
		r.log.Warn("image cannot run its job type", "job", spec.ID, "type", spec.Type, "image", spec.Image, "error", err)
		return job.FailedResult(job.TypeConfig, job.PhaseStartup,
			fmt.Sprintf("Image '%s' cannot run job type '%s': %s", spec.Image, spec.Type, broken.Message)), nil
	}
	facts := job.Facts{Phase: job.PhaseStartup, Timeout: spec.Timeout, StartupTimeout: spec.StartupTimeout}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, job.ErrShutdown):
		facts.Cause = job.Interrupted
	case cause != nil:
		facts.Cause = job.CancelRequested
	case errors.Is(err, sandbox.ErrStartup):
		r.log.Warn("a job's sandbox was not ready in time", "job", spec.ID, "type", spec.Type, "error", err) // the job's result does not have where it was
		facts.Cause = job.StartupOverrun
	default:
		return nil, err
	}
	v := job.Classify(facts)
	return &job.Result{Status: v.Status, ExitCode: v.ExitCode, Error: v.Error, StartedAt: turn, EndedAt: time.Now()}, nil
}
