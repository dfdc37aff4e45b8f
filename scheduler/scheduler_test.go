package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake runs each job until its context is cancelled or the test ends the job.
type fake struct {
	mu       sync.Mutex
	started  []string
	end      map[string]chan struct{}
	causes   map[string]error
	outcome  func(id string) (*job.Result, error)
	stubborn bool                  // does not end when cancelled
	launch   func(id string) error // runs before the code's first byte; nil means that every launch works
}

func newFake() *fake {
	return &fake{end: map[string]chan struct{}{}, causes: map[string]error{}}
}

func (f *fake) channel(id string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end[id] == nil {
		f.end[id] = make(chan struct{})
	}
	return f.end[id]
}

func (f *fake) finish(id string) { close(f.channel(id)) }

func (f *fake) order() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.started)
}

func (f *fake) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	f.mu.Lock()
	f.started = append(f.started, s.ID)
	launch := f.launch
	f.mu.Unlock()
	if launch != nil {
		if err := launch(s.ID); err != nil {
			return nil, err
		}
	}
	o.Started()
	o.Stdout([]byte("x"))
	o.Stderr(nil)
	done := ctx.Done()
	if f.stubborn {
		done = nil
	}
	select {
	case <-f.channel(s.ID):
	case <-done:
		f.mu.Lock()
		f.causes[s.ID] = context.Cause(ctx)
		f.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	if f.outcome != nil {
		return f.outcome(s.ID)
	}
	return ok(), nil
}

func ok() *job.Result {
	zero := 0
	return &job.Result{Status: job.Succeeded, ExitCode: &zero}
}

const mib = job.MiB

func spec(id, caller string, memory int64) *job.Spec {
	return &job.Spec{ID: id, Caller: caller, Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second,
		Limits: job.Limits{Memory: memory * mib, Stdout: 1 << 16, Stderr: 1 << 16}}
}

type answer struct {
	record *job.Record
	result *job.Result
	err    error
}

// bench is a started scheduler over a fake, inside a synctest bubble.
type bench struct {
	*Scheduler
	f       *fake
	m       *memory
	t       *testing.T
	answers map[string]chan answer
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	return newBenchOn(t, o, newMemory())
}

// newBenchOn starts a scheduler on an existing store.
func newBenchOn(t *testing.T, o Options, m *memory) *bench {
	t.Helper()
	f := newFake()
	o = with(o, f, m)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &bench{Scheduler: s, f: f, m: m, t: t, answers: map[string]chan answer{}}
}

// with fills in the required options.
func with(o Options, r Runner, m *memory) Options {
	o.Runner, o.Store, o.Runtime = r, m, "runsc"
	if o.Resolve == nil {
		o.Resolve = func(rec *job.Record, req *job.Request) (*job.Spec, error) {
			s := spec(rec.ID, rec.Caller, req.MemoryLimit/mib)
			s.Code = req.Code
			return s, nil
		}
	}
	return o
}

func must(s *Scheduler, err error) *Scheduler {
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		panic(err)
	}
	return s
}

// of returns the submission of a job.
func of(s *job.Spec) job.Submission {
	return job.Submission{
		Record:  &job.Record{ID: s.ID, Caller: s.Caller, JobType: "default", JobRef: "default@latest"},
		Request: &job.Request{Code: s.Code, MemoryLimit: s.Limits.Memory},
		Spec:    s,
	}
}

// submit calls Execute in a goroutine and returns once the bubble is idle.
func (b *bench) submit(ctx context.Context, s *job.Spec) {
	c := make(chan answer, 1)
	b.answers[s.ID] = c
	go func() {
		rec, r, err := b.Execute(ctx, of(s), true, nil)
		c <- answer{rec, r, err}
	}()
	synctest.Wait()
}

func (b *bench) answer(id string) answer {
	b.t.Helper()
	synctest.Wait()
	select {
	case a := <-b.answers[id]:
		return a
	default:
		b.t.Fatalf("%s has not ended", id)
		return answer{}
	}
}

func (b *bench) refused(id string, want job.Reason) *job.Refusal {
	b.t.Helper()
	a := b.answer(id)
	var r *job.Refusal
	if !errors.As(a.err, &r) || r.Reason != want || a.result != nil {
		b.t.Fatalf("%s: %v, %v; want refusal %s", id, a.result, a.err, want)
	}
	if slices.Contains(b.f.order(), id) {
		b.t.Errorf("%s was refused and ran", id)
	}
	return r
}

func (b *bench) finishAll(ids ...string) {
	for _, id := range ids {
		b.f.finish(id)
		synctest.Wait()
	}
}

func (b *bench) stats(pending, running int) {
	b.t.Helper()
	synctest.Wait()
	if s := b.Stats(); s.Pending != pending || s.Running != running {
		b.t.Errorf("%d pending, %d running; want %d, %d", s.Pending, s.Running, pending, running)
	}
}

func (b *bench) stop() {
	b.t.Helper()
	if err := b.Stop(context.Background()); err != nil {
		b.t.Error(err)
	}
	if b.used != 0 || len(b.byID) != 0 || b.queue.len() != 0 || len(b.running) != 0 {
		b.t.Errorf("left behind: %d bytes, %d ids, %d queued, %d running", b.used, len(b.byID), b.queue.len(),
			len(b.running))
	}
}

var wide = Options{Budget: 1000 * mib, Allowance: 10 * mib, Workers: 2, Queue: 3}

func TestSlotsBoundWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		for _, id := range []string{"1", "2", "3", "4"} {
			b.submit(t.Context(), spec(id, "a", 100))
		}
		b.stats(2, 2)
		b.finishAll("1")
		b.stats(1, 2)
		if a := b.answer("1"); a.err != nil || a.result.Status != job.Succeeded {
			t.Errorf("got %+v", a)
		}
		b.finishAll("2", "3", "4")
		if got := b.f.order(); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
			t.Errorf("ran in order %v", got)
		}
		b.stop()
	})
}

func TestBudgetCountsLeafLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := wide
		o.Workers, o.Budget = 10, 330*mib
		b := newBench(t, o)
		for _, id := range []string{"1", "2", "3", "4"} { // 110 MiB each with the allowance
			b.submit(t.Context(), spec(id, "a", 100))
		}
		b.stats(1, 3)
		b.finishAll("2")
		b.stats(0, 3)
		b.finishAll("1", "3", "4")
		b.stop()
	})
}

func TestTooLargeForTheWholeBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		b.submit(t.Context(), spec("fits", "a", 990))
		b.submit(t.Context(), spec("not", "a", 991))
		b.submit(t.Context(), spec("zero", "a", 0))
		b.refused("not", job.TooLarge)
		b.refused("zero", job.TooLarge)
		b.finishAll("fits")
		b.stop()
	})
}

func TestFullQueueRefusesWithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		for _, id := range []string{"1", "2", "3", "4", "5"} {
			b.submit(t.Context(), spec(id, "a", 1))
		}
		b.submit(t.Context(), spec("6", "a", 1))
		r := b.refused("6", job.QueueFull)
		if r.Message != "Job queue is full, try again later" || r.RetryAfter < 8*time.Second ||
			r.RetryAfter > 12*time.Second {
			t.Errorf("refusal %+v", r)
		}
		b.stats(3, 2)
		time.Sleep(3 * time.Second)
		b.finishAll("1") // mean 3 s
		b.submit(t.Context(), spec("7", "a", 1))
		time.Sleep(time.Second)
		b.finishAll("2") // 4 s: mean 3.125 s
		b.submit(t.Context(), spec("8", "a", 1))
		b.submit(t.Context(), spec("9", "a", 1))
		if r := b.refused("9", job.QueueFull); r.RetryAfter < 4*time.Second || r.RetryAfter > 6*time.Second {
			t.Errorf("Retry-After %s, want 3 jobs × 3.125 s / 2 slots, a fifth more or less, rounded up", r.RetryAfter)
		}
		b.finishAll("3", "4", "5", "7", "8")
		b.stop()
	})
}

// Ruling 27.
func TestRetryAfterFollowsTheQueue(t *testing.T) {
	for _, c := range []struct {
		queued, slots int
		mean          time.Duration
		random        float64
		want          time.Duration
	}{
		{100, 4, time.Second, 0.5, 25 * time.Second},
		{100, 4, time.Second, 0, 20 * time.Second},
		{60, 4, time.Second, 0.999, 18 * time.Second},
		{100, 4, time.Minute, 0.999, 30 * time.Second},
		{100, 4, time.Minute, 0, 24 * time.Second},
		{1, 64, time.Millisecond, 0, time.Second},
		{0, 4, time.Second, 0.5, time.Second},
		{100, 4, 0, 0.5, 10 * time.Second},
	} {
		if got := retryAfter(c.queued, c.slots, c.mean, c.random); got != c.want {
			t.Errorf("%d queued, %d slots, mean %s, random %g: %s, want %s", c.queued, c.slots, c.mean, c.random, got,
				c.want)
		}
	}
}

func TestCallersAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 20})
		b.submit(t.Context(), spec("first", "a", 1))
		for _, id := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
			b.submit(t.Context(), spec(id, id[:1], 1))
		}
		b.finishAll("first", "a1", "b1", "c1", "a2", "b2", "a3", "a4")
		if got := strings.Join(b.f.order(), " "); got != "first a1 b1 c1 a2 b2 a3 a4" {
			t.Errorf("ran in order %s", got)
		}
		b.stop()
	})
}

func TestFloodDoesNotKeepOthersOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 4})
		for _, id := range []string{"a0", "a1", "a2", "a3", "a4"} {
			b.submit(t.Context(), spec(id, "a", 1))
		}
		b.submit(t.Context(), spec("b1", "b", 1))
		b.refused("a4", job.QueueFull)
		b.submit(t.Context(), spec("b2", "b", 1))
		b.refused("a3", job.QueueFull)
		b.submit(t.Context(), spec("b3", "b", 1))
		b.refused("b3", job.QueueFull) // both have two now
		b.submit(t.Context(), spec("a5", "a", 1))
		b.refused("a5", job.QueueFull)
		b.finishAll("a0", "a1", "b1", "a2", "b2")
		b.stop()
	})
}

func TestLargeJobIsOvertakenForAWhileOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 100 * mib, Workers: 2, Queue: 100})
		b.submit(t.Context(), spec("s0", "small", 50))
		b.submit(t.Context(), spec("large", "large", 80))
		for i := 1; i <= 40; i++ {
			b.submit(t.Context(), spec(fmt.Sprintf("s%d", i), "small", 50))
		}
		for i := 0; !slices.Contains(b.f.order(), "large"); i++ {
			if i > 40 {
				t.Fatal("the large job starved")
			}
			b.finishAll(fmt.Sprintf("s%d", i))
		}
		if n := len(b.f.order()); n != maxOvertaken+2 {
			t.Errorf("the large job was number %d, want it after %d others", n, maxOvertaken+1)
		}
		b.f.finish("large")
		for i := maxOvertaken + 1; i <= 40; i++ {
			b.finishAll(fmt.Sprintf("s%d", i))
		}
		b.stop()
	})
}

func TestWaitEndsWithStartupTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 4})
		b.submit(t.Context(), spec("1", "a", 1))
		late := spec("2", "a", 1)
		late.StartupTimeout = 10 * time.Second
		b.submit(t.Context(), late)
		time.Sleep(9 * time.Second)
		b.stats(1, 1)
		time.Sleep(2 * time.Second)
		if r := b.refused("2", job.Busy); r.RetryAfter < time.Second || !strings.Contains(r.Message, "(10 seconds)") {
			t.Errorf("refusal %+v", r)
		}
		b.stats(0, 1)
		b.finishAll("1")
		b.stop()
	})
}

func TestHangUpWhileQueuedRemovesTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 100 * mib, Workers: 2, Queue: 100})
		b.submit(t.Context(), spec("1", "a", 50))
		ctx, hangUp := context.WithCancel(t.Context())
		b.submit(ctx, spec("large", "b", 100))
		b.queue.lines[0].entries[0].overtaken = maxOvertaken // it blocks the others
		b.submit(t.Context(), spec("2", "a", 50))
		b.stats(2, 1)
		hangUp()
		if a := b.answer("large"); !errors.Is(a.err, context.Canceled) || a.result != nil {
			t.Errorf("got %+v", a)
		}
		b.stats(0, 2)
		b.finishAll("1", "2")
		if slices.Contains(b.f.order(), "large") {
			t.Error("it ran all the same")
		}
		b.stop()
	})
}

func TestHangUpCancelsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		ctx, hangUp := context.WithCancel(t.Context())
		b.submit(ctx, spec("1", "a", 1))
		hangUp()
		a := b.answer("1")
		if a.err != nil || a.result.Status != job.Cancelled || a.result.ExitCode != nil ||
			a.result.Error.Type != job.TypeCancelled {
			t.Errorf("got %+v", a)
		}
		if !errors.Is(b.f.causes["1"], job.ErrCallerGone) {
			t.Errorf("cause %v", b.f.causes["1"])
		}
		b.stop()
	})
}

// The runner's context is cancelled from the start if the caller left before the job's turn.
func TestRunnerNeverStartsForACallerWhoIsGone(t *testing.T) {
	gone, hangUp := context.WithCancel(context.Background())
	hangUp()
	s := must(New(with(Options{Budget: mib, Workers: 1, Queue: 1},
		runnerFunc(func(context.Context, *job.Spec, job.Observer) (*job.Result, error) {
			t.Error("the runner was started")
			return ok(), nil
		}), newMemory())))
	for range 200 {
		if _, r, err := s.Execute(gone, of(spec("1", "a", 1)), false, nil); err == nil && r.Status != job.Cancelled {
			t.Errorf("got %+v", r)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 4})
		b.submit(t.Context(), spec("running", "a", 1))
		b.submit(t.Context(), spec("queued", "a", 1))
		cancel := func(id string) bool {
			found, err := b.Cancel(t.Context(), id)
			if err != nil {
				t.Error(err)
			}
			return found
		}
		if cancel("other") {
			t.Error("cancelled a job that is not there")
		}
		if !cancel("queued") {
			t.Error("did not find the queued job")
		}
		if a := b.answer("queued"); a.err != nil || a.result.Status != job.Cancelled || a.result.ExitCode != nil ||
			a.result.Error.Message != "Execution was cancelled by user" {
			t.Errorf("queued: %+v", a)
		}
		if !cancel("running") {
			t.Error("did not find the running job")
		}
		if a := b.answer("running"); a.err != nil || a.result.Status != job.Cancelled {
			t.Errorf("running: %+v", a)
		}
		if cancel("running") || slices.Contains(b.f.order(), "queued") {
			t.Error("cancelled twice, or ran after the cancel")
		}
		b.stop()
	})
}

func TestOverdueRunIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		b.submit(t.Context(), spec("1", "a", 1))
		time.Sleep(209 * time.Second)
		b.stats(0, 1)
		time.Sleep(2 * time.Second)
		if a := b.answer("1"); a.err != nil || a.result.Status != job.Timeout ||
			a.result.Error.Type != job.TypeExecutionTimeout || *a.result.ExitCode != 124 {
			t.Errorf("got %+v", a)
		}
		if len(b.f.order()) != 1 || len(b.m.dead()) != 0 {
			t.Errorf("ran %v, dead letters %v", b.f.order(), b.m.dead())
		}
		if !errors.Is(b.f.causes["1"], job.ErrOverdue) {
			t.Errorf("cause %v", b.f.causes["1"])
		}
		b.stop()
	})
}

// An unexpected failure inside tsubo is an internal error, is not retried, and is dead-lettered.
func TestRunnerFailuresAreValues(t *testing.T) {
	for _, c := range []struct {
		name    string
		outcome func(string) (*job.Result, error)
		kind    job.ErrorType
		message string
	}{
		{"error after the code had begun",
			func(string) (*job.Result, error) { return nil, errors.New("open /var/lib/tsubo/x: secret") },
			job.TypeInternal, "The sandbox failed; the server's log has the reason"},
		{"nothing", func(string) (*job.Result, error) { return nil, nil }, job.TypeInternal,
			"The sandbox failed; the server's log has the reason"},
		{"panic", func(string) (*job.Result, error) { panic("boom") }, job.TypeInternal,
			"The sandbox failed; the server's log has the reason"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, wide)
				b.f.outcome = c.outcome
				b.submit(t.Context(), spec("1", "a", 1))
				b.finishAll("1")
				a := b.answer("1")
				if a.err != nil || a.result == nil || a.result.Status != job.Failed || *a.result.ExitCode != -1 ||
					a.result.Error.Type != c.kind || a.result.Error.Message != c.message {
					t.Errorf("got %+v", a)
				}
				if dead := b.m.dead(); len(dead) != 1 || len(b.f.order()) != 1 ||
					strings.Contains(dead[0].ErrorMessage, "tsubo/x") {
					t.Errorf("ran %v, dead letters %+v", b.f.order(), dead)
				}
				b.stop()
			})
		})
	}
}

func TestStop(t *testing.T) {
	t.Run("drains", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 4})
			b.submit(t.Context(), spec("running", "a", 1))
			b.submit(t.Context(), spec("queued", "a", 1))
			stopped := make(chan error, 2)
			for range 2 {
				go func() { stopped <- b.Stop(context.Background()) }()
			}
			b.refused("queued", job.Unready)
			b.submit(t.Context(), spec("new", "a", 1))
			if r := b.refused("new", job.Unready); r.RetryAfter < time.Second ||
				!strings.Contains(r.Message, "shutting down") {
				t.Errorf("refusal %+v", r)
			}
			b.finishAll("running")
			if a := b.answer("running"); a.result.Status != job.Succeeded {
				t.Errorf("got %+v", a)
			}
			for range 2 {
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			}
			if err := b.Start(t.Context()); err != nil {
				t.Error(err)
			}
			b.submit(t.Context(), spec("after", "a", 1))
			b.refused("after", job.Unready)
			b.stop()
		})
	})
	t.Run("cancels what outlives the drain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, wide)
			b.submit(t.Context(), spec("1", "a", 1))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := b.Stop(ctx); err != nil {
				t.Error(err)
			}
			if a := b.answer("1"); a.result.Status != job.Failed || a.result.Error.Type != job.TypeInterrupted ||
				*a.result.ExitCode != -1 {
				t.Errorf("got %+v", a)
			}
			if !errors.Is(b.f.causes["1"], job.ErrShutdown) {
				t.Errorf("cause %v", b.f.causes["1"])
			}
			b.stop()
		})
	})
	t.Run("is bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, wide)
			b.f.stubborn = true
			b.submit(t.Context(), spec("1", "a", 1))
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := b.Stop(ctx); err == nil || !strings.Contains(err.Error(), "1 runs did not end") {
				t.Errorf("got %v", err)
			}
			b.finishAll("1")
			b.stop()
		})
	})
	t.Run("comes first", func(t *testing.T) {
		s, err := New(with(Options{Budget: 1, Workers: 1, Queue: 1}, newFake(), newMemory()))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Execute(t.Context(), of(spec("1", "a", 1)), true, nil); err == nil ||
			!strings.Contains(err.Error(), "not ready yet") {
			t.Errorf("before Start: %v", err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Error(err)
		}
		if _, _, err := s.Execute(t.Context(), of(spec("1", "a", 1)), true, nil); err == nil ||
			!strings.Contains(err.Error(), "shutting down") {
			t.Errorf("after Stop: %v", err)
		}
	})
}

func TestSameIDTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, wide)
		b.submit(t.Context(), spec("1", "a", 1))
		if _, _, err := b.Execute(t.Context(), of(spec("1", "b", 1)), true, nil); err == nil {
			t.Error("took a second job of the same id")
		}
		b.finishAll("1")
		b.stop()
	})
}

func TestNewChecksOptions(t *testing.T) {
	good := with(Options{Budget: 1, Workers: 1, Queue: 1}, newFake(), newMemory())
	for name, spoil := range map[string]func(*Options){
		"runner": func(o *Options) { o.Runner = nil }, "store": func(o *Options) { o.Store = nil },
		"resolve": func(o *Options) { o.Resolve = nil },
		"tries":   func(o *Options) { o.MaxTries = -1 }, "delay": func(o *Options) { o.RetryDelay = -1 },
		"ttl":     func(o *Options) { o.QueueTTL = -1 },
		"budget":  func(o *Options) { o.Budget = 0 },
		"workers": func(o *Options) { o.Workers = 0 }, "queue": func(o *Options) { o.Queue = 0 },
		"allowance": func(o *Options) { o.Allowance = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Concurrent submits, hang-ups, cancels and a stop never exceed a limit and leave nothing behind.
func TestStorm(t *testing.T) {
	var inside, most, bytes, mostBytes int64
	var mu sync.Mutex
	add := func(n, b int64) {
		mu.Lock()
		defer mu.Unlock()
		inside, bytes = inside+n, bytes+b
		most, mostBytes = max(most, inside), max(mostBytes, bytes)
	}
	s := must(New(with(Options{Budget: 100 * mib, Workers: 3, Queue: 8},
		runnerFunc(func(ctx context.Context, sp *job.Spec, _ job.Observer) (*job.Result, error) {
			add(1, sp.Limits.Memory)
			defer add(-1, -sp.Limits.Memory)
			if sp.ID[len(sp.ID)-1]%3 == 0 {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return ok(), nil
		}), newMemory())))
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d-%d", c, i)
				ctx, cancel := context.WithCancel(context.Background())
				wg.Go(cancel)
				if i%2 == 0 {
					wg.Go(func() { _, _ = s.Cancel(context.Background(), id) })
				}
				_, r, err := s.Execute(ctx, of(spec(id, fmt.Sprint(c%5), int64(1+i%60))), false, nil)
				if (r == nil) == (err == nil) {
					t.Errorf("%s: %v, %v", id, r, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if most > 3 || mostBytes > 100*mib || most == 0 {
		t.Errorf("%d at once with %d bytes", most, mostBytes)
	}
	if s.used != 0 || len(s.byID) != 0 || len(s.running) != 0 || s.queue.len() != 0 {
		t.Errorf("left behind: %d bytes, %d ids, %d running, %d queued", s.used, len(s.byID), len(s.running),
			s.queue.len())
	}
}

type runnerFunc func(context.Context, *job.Spec, job.Observer) (*job.Result, error)

func (f runnerFunc) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	return f(ctx, s, o)
}

func TestMemoryIsTakenUntilTheJobIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rooms []int64
		b := newBench(t, Options{Budget: 100 * mib, Workers: 2, Queue: 5,
			Room: func(n int64) { rooms = append(rooms, n/mib) }})
		cleared := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		b.f.outcome = func(id string) (*job.Result, error) {
			r := ok()
			r.Cleared = cleared[id]
			return r, nil
		}
		b.submit(context.Background(), spec("a", "u", 60))
		b.submit(context.Background(), spec("b", "u", 40))
		b.finishAll("a", "b")
		b.answer("a") // immediately, whatever is left to clean up
		b.submit(context.Background(), spec("c", "u", 60))
		close(cleared["b"])
		synctest.Wait()
		if got := b.f.order(); !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("ran %q before the memory of the first was free", got)
		}
		close(cleared["a"])
		synctest.Wait()
		if got := b.f.order(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("ran %q after it was free", got)
		}
		b.finishAll("c")
		b.answer("c")
		if want := []int64{100, 40, 0, 40, 100, 40, 100}; !slices.Equal(rooms, want) {
			t.Errorf("rooms %v, want %v", rooms, want)
		}
		b.stop()
	})
}

func TestSlotIsFreeBeforeTheJobIsCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 100 * mib, Workers: 1, Queue: 5})
		cleared := make(chan struct{})
		b.f.outcome = func(string) (*job.Result, error) {
			r := ok()
			r.Cleared = cleared
			return r, nil
		}
		b.submit(context.Background(), spec("a", "u", 10))
		b.submit(context.Background(), spec("b", "u", 10))
		b.finishAll("a")
		if got := b.f.order(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("ran %q", got)
		}
		b.finishAll("b")
		close(cleared)
		synctest.Wait()
		b.stop()
	})
}
