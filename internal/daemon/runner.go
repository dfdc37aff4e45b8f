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

// sandboxTaker is the part of *pool.Pool that runner needs.
type sandboxTaker interface {
	Take(ctx context.Context, shape sandbox.Shape) (*pool.Taken, error)
}

// imageLeaser leases an image by name or digest until release. If there is no such image, it
// refuses with job.NotFound.
type imageLeaser interface {
	Use(ref string) (use *images.Use, release func(), err error)
}

// runner is the scheduler's Runner. It runs every job in a sandbox of its own.
type runner struct {
	pool   sandboxTaker
	images imageLeaser
	// environment returns the environment of a job type.
	environment func(jobType string) map[string]string
	log         *slog.Logger

	clearing sync.WaitGroup // clean-ups after a response
}

// destroyBound limits the clean-up after a job, which has a context of its own.
const destroyBound = 30 * time.Second

// answerFirst is the delay before the clean-up, which leaves the CPU to the response.
const answerFirst = 5 * time.Millisecond

// Run implements scheduler.Runner. It returns before the sandbox is destroyed and closes
// Result.Cleared afterwards.
func (r *runner) Run(ctx context.Context, spec *job.Spec, watch job.Observer) (*job.Result, error) {
	turn := time.Now()
	use, release, err := r.images.Use(spec.Image)
	if err != nil {
		return r.noImage(spec, err)
	}
	boot, cancel := context.WithDeadlineCause(ctx, turn.Add(spec.StartupTimeout), sandbox.ErrStartup)
	defer cancel()
	taken, err := r.pool.Take(boot, shapeOf(use, spec, bootEnvironment(spec, r.environment(spec.Type))))
	if err != nil {
		release()
		return r.notBooted(ctx, spec, turn, err)
	}
	var raw *job.RawStdout
	if spec.RawStdout {
		raw = &job.RawStdout{Observer: watch, Limit: spec.Limits.Stdout}
		watch = raw
	}
	turn = taken.Begun // waiting for other jobs' boots counts as waiting for a slot
	result, err := taken.Run(ctx, spec, turn, watch)
	if err != nil {
		r.clear(ctx, taken, release, spec.ID)
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
		r.clear(ctx, taken, release, spec.ID)
	}()
	return result, nil
}

// clear destroys the sandbox. On error the image stays leased, since the sandbox may still use it.
func (r *runner) clear(ctx context.Context, taken *pool.Taken, release func(), id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
	defer cancel()
	if err := taken.Destroy(ctx); err != nil {
		r.log.Error("clean up after a job", "job", id, "error", err)
		return
	}
	release()
}

// close waits for all clean-ups.
func (r *runner) close() error {
	r.clearing.Wait()
	return nil
}

// shapeOf returns the properties of a job that are fixed when its sandbox boots.
func shapeOf(use *images.Use, spec *job.Spec, environment map[string]string) sandbox.Shape {
	return sandbox.Shape{
		Root: use.Root, Config: use.Config, Language: spec.Language, Command: spec.Command, Workdir: spec.Workdir,
		Preload: spec.Preload, Environment: environment,
		Limits: spec.Limits,
	}
}

// bootEnvironment returns the variables that must be set when the job's sandbox boots. Normally
// these are the job type's, so that an idle sandbox can be used. If the job changes a variable that
// a waiting interpreter has already read, they are the whole environment. The rest is set at the
// hand-over.
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

// readEarly reports whether a dynamic loader, a C library or an interpreter reads the variable only
// once, at its start.
func readEarly(key string) bool {
	for _, prefix := range []string{"HOME", "PYTHON", "NODE", "UV_", "LD_", "LC_", "LANG", "LOCPATH", "NLSPATH",
		"GCONV_PATH", "GLIBC_", "MALLOC_", "TZ", "ICU_", "OPENSSL_", "SSL_"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// noImage returns the result of a job whose image does not exist.
func (r *runner) noImage(spec *job.Spec, err error) (*job.Result, error) {
	if job.ReasonOf(err) != job.NotFound {
		return nil, fmt.Errorf("use image %q: %w", spec.Image, err)
	}
	return job.FailedResult(job.TypeConfig, job.PhaseStartup, fmt.Sprintf(
		"Job type '%s' needs the image '%s', which is not in the catalogue: import it with: "+
			"tsubo images import PATH --name %s",
		spec.Type, spec.Image, spec.Image)), nil
}

// notBooted converts the error of a job whose code never ran into a result, or returns the error if
// tsubo itself failed.
func (r *runner) notBooted(ctx context.Context, spec *job.Spec, turn time.Time, err error) (*job.Result, error) {
	var broken *sandbox.ImageError
	if errors.As(err, &broken) {
		r.log.Warn("image cannot run its job type", "job", spec.ID, "type", spec.Type, "image", spec.Image, "error",
			err)
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
		// The job's result does not contain this error.
		r.log.Warn("a job's sandbox was not ready in time", "job", spec.ID, "type", spec.Type, "error", err)
		facts.Cause = job.StartupOverrun
	default:
		return nil, err
	}
	v := job.Classify(facts)
	return &job.Result{Status: v.Status, ExitCode: v.ExitCode, Error: v.Error, StartedAt: turn, EndedAt: time.Now()},
		nil
}
