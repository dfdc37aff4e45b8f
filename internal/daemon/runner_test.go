package daemon

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/pool"
	"github.com/tsubo-run/tsubo/sandbox"
)

// steps is a pool, its sandbox and the catalogue. It records what runner does with them.
type steps struct {
	mu  sync.Mutex
	did []string // see all

	use, take, run, destroy error // what each step returns
	result                  *job.Result
	begun                   time.Time

	shape    sandbox.Shape
	turn     time.Time
	destroys context.Context // the context of Destroy
}

func (s *steps) note(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, step)
}

// all returns the steps so far.
func (s *steps) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.did)
}

func (s *steps) Use(ref string) (*images.Use, func(), error) {
	s.note("use " + ref)
	if s.use != nil {
		return nil, nil, s.use
	}
	return &images.Use{Config: job.ImageConfig{WorkingDir: "/srv"}}, func() { s.note("release") }, nil
}

func (s *steps) Take(ctx context.Context, shape sandbox.Shape) (*pool.Taken, error) {
	s.note("take")
	s.shape = shape
	if s.take != nil {
		return nil, s.take
	}
	return &pool.Taken{Sandbox: s, Tier: pool.Warm, Begun: s.begun}, nil
}

func (s *steps) Run(_ context.Context, _ *job.Spec, turn time.Time, o job.Observer) (*job.Result, error) {
	s.note("run")
	s.turn = turn
	o.Stdout([]byte("raw\xff"))
	return s.result, s.run
}

func (s *steps) Waiting() error   { return nil }
func (s *steps) Footprint() int64 { return 0 }

func (s *steps) Destroy(ctx context.Context) error {
	s.destroys = ctx
	s.note("destroy")
	return errors.Join(ctx.Err(), s.destroy)
}

// silent is an Observer that ignores everything.
type silent struct{ job.Observer }

func (silent) Stdout([]byte) {}

func newRunner(s *steps) *runner {
	return &runner{pool: s, images: s, log: quiet,
		environment: func(jobType string) map[string]string { return map[string]string{"TYPE": jobType} }}
}

func spec() *job.Spec {
	return &job.Spec{ID: "id", Type: "t", Image: "python", Language: job.Python, Workdir: "/w",
		Timeout: time.Minute, StartupTimeout: time.Minute, Limits: job.Limits{Stdout: 100}}
}

// TestRun: the result comes before the sandbox is destroyed, and the image is released after.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &steps{result: &job.Result{Status: job.Succeeded}, begun: time.Now().Add(time.Second)}
		r := newRunner(s)
		asked := spec()
		asked.RawStdout = true
		ctx, cancel := context.WithCancel(t.Context())
		result, err := r.Run(ctx, asked, silent{})
		if err != nil {
			t.Fatal(err)
		}
		cancel() // the clean-up has a context of its own
		if did, want := s.all(), []string{"use python", "take", "run"}; !slices.Equal(did, want) {
			t.Errorf("before the answer %q, want %q", did, want)
		}
		if tier := result.Timing.Sandbox; tier == nil || *tier != "warm" {
			t.Errorf("timing.sandbox %v, want warm", tier)
		}
		if a := result.Artifacts; len(a) != 1 || a[0].Name != job.RawStdoutName || string(a[0].Data) != "raw\xff" {
			t.Errorf("artifacts %+v, want the raw stdout", a)
		}
		if !s.turn.Equal(s.begun) {
			t.Errorf("turn %v, want the end of the wait for boots %v", s.turn, s.begun)
		}
		if s.shape.Environment["TYPE"] != "t" || s.shape.Config.WorkingDir != "/srv" || s.shape.Workdir != "/w" ||
			s.shape.Limits != asked.Limits {
			t.Errorf("shape %+v", s.shape)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		<-result.Cleared
		if did, want := s.all(), []string{"use python", "take", "run", "destroy", "release"}; !slices.Equal(did, want) {
			t.Errorf("after close %q, want %q", did, want)
		}
		if deadline, ok := s.destroys.Deadline(); !ok || time.Until(deadline) > destroyBound {
			t.Errorf("the clean-up has no deadline: %v", deadline)
		}
	})
}

// TestRunFails: a job whose code never ran ends with a result if the cause is the caller's, and
// with an error if the cause is tsubo's. Sandbox and image are given back.
func TestRunFails(t *testing.T) {
	broken := errors.New("broken")
	never := []string{"use python", "take", "release"}
	cleared := []string{"use python", "take", "run", "destroy", "release"}
	for name, c := range map[string]struct {
		steps  *steps
		cause  error // of the job's context
		err    error // in the chain; nil for a result
		status job.Status
		kind   job.ErrorType
		part   string // of the message
		did    []string
	}{
		"no image": {steps: &steps{use: job.Refuse(job.NotFound, "none")}, status: job.Failed, kind: job.TypeConfig,
			part: "tsubo images import PATH --name python", did: []string{"use python"}},
		"broken catalogue": {steps: &steps{use: broken}, err: broken, did: []string{"use python"}},
		"image cannot run the type": {steps: &steps{take: &sandbox.ImageError{Message: "no python3"}}, status: job.Failed,
			kind: job.TypeConfig, part: "'python' cannot run job type 't': no python3", did: never},
		"startup timeout": {steps: &steps{take: sandbox.ErrStartup}, status: job.Timeout, kind: job.TypeStartupTimeout,
			did: never},
		"cancelled": {steps: &steps{take: broken}, cause: job.ErrCancelRequested, status: job.Cancelled,
			kind: job.TypeCancelled, did: never},
		"stopped": {steps: &steps{take: broken}, cause: job.ErrShutdown, status: job.Failed, kind: job.TypeInterrupted,
			did: never},
		"no sandbox":         {steps: &steps{take: broken}, err: broken, did: never},
		"sandbox fails":      {steps: &steps{run: broken}, err: broken, did: cleared},
		"clean-up fails too": {steps: &steps{run: broken, destroy: broken}, err: broken, did: cleared[:4]},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			if c.cause != nil {
				cancel(c.cause)
			}
			defer cancel(nil)
			r := newRunner(c.steps)
			result, err := r.Run(ctx, spec(), silent{})
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if did := c.steps.all(); !slices.Equal(did, c.did) {
				t.Errorf("did %q, want %q", did, c.did)
			}
			if c.err != nil {
				return
			}
			if result.Status != c.status || result.Error == nil || result.Error.Type != c.kind ||
				!strings.Contains(result.Error.Message, c.part) {
				t.Errorf("status %s, error %+v; want %s, %s with %q", result.Status, result.Error, c.status, c.kind, c.part)
			}
		})
	}
}

// TestFailedCleanUpKeepsTheImage: something of a sandbox that could not be destroyed may still use
// its root.
func TestFailedCleanUpKeepsTheImage(t *testing.T) {
	s := &steps{result: &job.Result{Status: job.Succeeded}, destroy: errors.New("populated")}
	r := newRunner(s)
	result, err := r.Run(t.Context(), spec(), silent{})
	if err != nil {
		t.Fatal(err)
	}
	<-result.Cleared
	if did := s.all(); slices.Contains(did, "release") {
		t.Errorf("did %q", did)
	}
}

func TestBootEnvironment(t *testing.T) {
	ofType := map[string]string{"A": "type", "PYTHONHASHSEED": "1"}
	for name, c := range map[string]struct {
		language job.Language
		change   map[string]string
		boot     bool // the whole environment must be set at boot
	}{
		"nothing":                     {job.Python, nil, false},
		"one that programs read":      {job.Python, map[string]string{"A": "job", "B": "job", "PATH": "/x"}, false},
		"one of the type's, the same": {job.Python, map[string]string{"B": "job", "PYTHONHASHSEED": "1"}, false},
		"one of the type's, another":  {job.Python, map[string]string{"PYTHONHASHSEED": "2"}, true},
		"one of the interpreter's":    {job.Python, map[string]string{"PYTHONWARNINGS": "error"}, true},
		"one of Node's":               {job.Node, map[string]string{"NODE_OPTIONS": "--no-warnings"}, true},
		"one of the loader's":         {job.Python, map[string]string{"LD_LIBRARY_PATH": "/x"}, true},
		"a locale":                    {job.Python, map[string]string{"LC_ALL": "C"}, true},
		"a time zone":                 {job.Python, map[string]string{"TZ": "UTC"}, true},
		"nothing waits for a command": {job.Command, map[string]string{"LD_LIBRARY_PATH": "/x"}, false},
	} {
		whole := maps.Clone(ofType)
		maps.Copy(whole, c.change)
		want := ofType
		if c.boot {
			want = whole
		}
		if got := bootEnvironment(&job.Spec{Language: c.language, Environment: whole}, ofType); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
