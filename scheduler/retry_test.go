package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/breaker"
)

var errLaunch = errors.New("start runsc: no such file: /var/lib/tsubo/x")

// failLaunches makes the first n launches fail.
func (f *fake) failLaunches(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.launch = func(string) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if n == 0 {
			return nil
		}
		n--
		return errLaunch
	}
}

func TestLaunchIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := narrow
		o.MaxTries = 3
		b := newBench(t, o)
		failures := 2
		b.f.launch = func(id string) error {
			if id != "1" || failures == 0 {
				return nil
			}
			failures--
			return errLaunch
		}
		b.accept(spec("1", "a", 1))
		b.status("1", job.Queued)
		b.stats(0, 0) // no slot is held during the delay
		if l, ok := b.Live("1"); !ok || l.Status != job.Pending || l.Position != 1 {
			t.Errorf("%+v %v", l, ok)
		}
		b.accept(spec("2", "a", 1)) // other jobs continue
		b.status("2", job.Running)
		time.Sleep(899 * time.Millisecond)
		if n := len(b.f.order()); n != 2 {
			t.Errorf("%d attempts within 0.9 s", n)
		}
		time.Sleep(201 * time.Millisecond) // 1 s and 10 %
		b.accept(spec("3", "a", 1))
		b.finishAll("2")
		time.Sleep(2200 * time.Millisecond) // 2 s and 10 % for the third
		synctest.Wait()
		if got := strings.Join(b.f.order(), " "); got != "1 2 1 3" { // 1 ran before 3 and failed again
			t.Error(got)
		}
		b.finishAll("3")
		if rec := b.status("1", job.Running); rec.Attempt != 2 {
			t.Errorf("attempt %d", rec.Attempt)
		}
		b.finishAll("1")
		if rec := b.status("1", job.Succeeded); rec.Attempt != 2 || rec.MaxTries != 3 {
			t.Errorf("%+v", rec)
		}
		if len(b.m.dead()) != 0 {
			t.Errorf("dead letters %+v", b.m.dead())
		}
		b.stop()
	})
}

func TestRetriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tries := range []int{1, 2, 4} {
			o := narrow
			o.MaxTries = tries
			b := newBench(t, o)
			b.f.failLaunches(99)
			b.accept(spec("1", "a", 1))
			b.submit(t.Context(), spec("s", "a", 1))
			time.Sleep(time.Minute)
			rec := b.failedAs("1", job.TypeUnavailable)
			if strings.Contains(rec.Error.Message, "/var") || rec.Attempt != tries-1 ||
				*rec.Error.Phase != job.PhaseStartup {
				t.Errorf("%+v %+v", rec, rec.Error)
			}
			if a := b.answer("s"); a.err != nil || a.result.Error.Type != job.TypeUnavailable {
				t.Errorf("sync: %+v", a)
			}
			if n := len(b.f.order()); n != 2*min(tries, 5) && tries < 3 {
				t.Errorf("%d launches of two jobs with %d attempts each", n, tries)
			}
			// wire.md 2.6: an expected infrastructure failure is no dead letter
			if len(b.m.dead()) != 0 {
				t.Errorf("dead letters %+v", b.m.dead())
			}
			b.stop()
		}
	})
}

func TestBackoff(t *testing.T) {
	s := &Scheduler{opt: Options{RetryDelay: time.Second}}
	for tries, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 5: 16, 6: 30, 9: 30, 64: 30, 1000: 30} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			d := s.backoff(tries)
			seen[d] = true
			if d < want*time.Second*9/10 || d > want*time.Second*11/10 {
				t.Fatalf("after %d attempts %s, want %d s and 10 %% either way", tries, d, want)
			}
		}
		if len(seen) < 2 {
			t.Errorf("after %d attempts there is no jitter", tries)
		}
	}
}

// These outcomes are never retried.
func TestNoRetry(t *testing.T) {
	result := func(s job.Status, e job.ErrorType) func(string) (*job.Result, error) {
		return func(string) (*job.Result, error) {
			one := 1
			return &job.Result{Status: s, ExitCode: &one, Error: &job.Error{Type: e, Message: "m"}}, nil
		}
	}
	for name, c := range map[string]struct {
		outcome func(string) (*job.Result, error)
		launch  error
		kind    job.ErrorType
	}{
		"the program failed": {result(job.Failed, job.TypeRuntime), nil, job.TypeRuntime},
		"timeout": {result(job.Timeout, job.TypeExecutionTimeout), nil,
			job.TypeExecutionTimeout},
		"startup timeout":              {result(job.Timeout, job.TypeStartupTimeout), nil, job.TypeStartupTimeout},
		"oom":                          {result(job.OOM, job.TypeOOM), nil, job.TypeOOM},
		"tsubo failed after the start": {result(job.Failed, job.TypeInternal), nil, job.TypeInternal},
		"the image is not there": {nil, fmt.Errorf("run: %w", job.Refuse(job.NotFound, "There is no image")),
			job.TypeConfig},
		"an error after the code's start": {func(string) (*job.Result, error) { return nil, errLaunch }, nil,
			job.TypeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, narrow)
				b.f.outcome = c.outcome
				if c.launch != nil {
					b.f.launch = func(string) error { return c.launch }
				}
				b.f.finish("1")
				b.accept(spec("1", "a", 1))
				time.Sleep(time.Minute)
				synctest.Wait()
				if rec := b.m.record("1"); !rec.Status.Terminal() || rec.Error.Type != c.kind || len(b.f.order()) != 1 {
					t.Errorf("%s, %+v, ran %v", rec.Status, rec.Error, b.f.order())
				}
				if s := b.Breaker(); s.FailureCount != 0 {
					t.Errorf("it counts as a failure to launch: %+v", s)
				}
				b.stop()
			})
		})
	}
}

func TestRefusedForItsRequirements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		s := spec("1", "a", 1)
		s.Requirements = []string{"numpy"}
		_, r, err := b.Execute(t.Context(), of(s), true, nil)
		if err != nil || r.Status != job.Failed || *r.ExitCode != -1 || r.Stderr != job.RequirementsDisabled ||
			len(b.f.order()) != 0 {
			t.Errorf("%v %+v, ran %v", err, r, b.f.order())
		}
		if rec := b.m.record("1"); rec.Enforced.Runtime != "runsc" {
			t.Errorf("%+v", rec)
		}
		b.stop()
	})
}

func TestCancelBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.failLaunches(99)
		b.accept(spec("1", "a", 1))
		ctx, hangUp := context.WithCancel(t.Context())
		b.submit(ctx, spec("s", "b", 1))
		b.cancelled("1")
		b.status("1", job.Cancelled)
		hangUp()
		if a := b.answer("s"); a.err != nil || a.result.Status != job.Cancelled {
			t.Errorf("%+v", a)
		}
		time.Sleep(time.Minute)
		if len(b.f.order()) != 2 {
			t.Errorf("ran %v", b.f.order())
		}
		// The same while the job waits for a slot after its delay.
		b.f.failLaunches(1)
		b.accept(spec("2", "a", 1))
		b.accept(spec("block", "a", 1))
		time.Sleep(time.Minute)
		b.stats(1, 1)
		b.cancelled("2")
		b.status("2", job.Cancelled)
		b.finishAll("block")
		b.stop()
	})
}

func TestImpatientCallerGetsTheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := narrow
		o.RetryDelay, o.MaxTries = 30*time.Second, 10
		b := newBench(t, o)
		b.f.failLaunches(99)
		s := spec("s", "b", 1)
		s.StartupTimeout = 10 * time.Second
		b.submit(t.Context(), s)
		time.Sleep(10 * time.Second)
		if a := b.answer("s"); a.err != nil || a.result.Error.Type != job.TypeUnavailable {
			t.Errorf("%+v", a)
		}
		b.stop()
	})
}

func TestBreakerStopsLaunches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Budget: 1000 * mib, Workers: 10, Queue: 100, MaxTries: 1}
		b := newBench(t, o)
		b.f.failLaunches(breaker.Failures)
		for i := range breaker.Failures + 3 {
			b.accept(spec(fmt.Sprint(i), "a", 1))
			b.failedAs(fmt.Sprint(i), job.TypeUnavailable)
		}
		if n := len(b.f.order()); n != breaker.Failures {
			t.Errorf("%d launches", n)
		}
		if s := b.Breaker(); s.State != "open" || s.FailureCount != breaker.Failures {
			t.Errorf("%+v", s)
		}
		if rec := b.m.record("7"); !strings.Contains(rec.Error.Message, "at the moment") {
			t.Errorf("%+v", rec.Error)
		}
		other := spec("other", "a", 1)
		other.Image = "another"
		b.accept(other)
		b.status("other", job.Running)
		b.finishAll("other")
		time.Sleep(breaker.Pause)
		b.accept(spec("trial", "a", 1))
		b.status("trial", job.Running)
		// the launch counts, not the program's outcome
		if s := b.Breaker(); s.State != "half_open" || s.SuccessCount != 1 {
			t.Errorf("%+v", s)
		}
		b.accept(spec("trial2", "a", 1))
		b.accept(spec("next", "a", 1))
		if s := b.Breaker(); s.State != "closed" {
			t.Errorf("%+v", s)
		}
		b.finishAll("trial", "trial2", "next")
		b.stop()
	})
}

// The breaker does not wait forever for a trial whose caller left.
func TestCancelledTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Budget: 1000 * mib, Workers: 10, Queue: 100, MaxTries: 1}
		b := newBench(t, o)
		b.f.failLaunches(breaker.Failures)
		for i := range breaker.Failures {
			b.accept(spec(fmt.Sprint(i), "a", 1))
		}
		time.Sleep(breaker.Pause)
		block := make(chan struct{})
		b.f.launch = func(string) error { <-block; return context.Canceled }
		b.accept(spec("trial", "a", 1))
		b.cancelled("trial")
		close(block)
		b.status("trial", job.Cancelled)
		b.f.launch = nil
		b.accept(spec("second", "a", 1))
		b.status("second", job.Running)
		b.finishAll("second")
		b.stop()
	})
}

func TestStartMarkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.m.failing(1, "begin")
		b.accept(spec("1", "a", 1))
		time.Sleep(2 * time.Second)
		b.status("1", job.Running)
		b.finishAll("1")
		b.status("1", job.Succeeded)
		b.m.failing(2, "begin")
		s := of(spec("2", "a", 1))
		s.Record.CodeHash, s.Record.IdempotencyKey, s.Record.CorrelationID, s.Record.ParentID = "hash", "secret-key",
			"corr", "parent"
		seven := int64(7)
		s.Request.Timeout, s.Request.Code, s.Request.Input = &seven, "secret code", []byte(`{"secret":1}`)
		if _, _, err := b.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		b.failedAs("2", job.TypeInternal)
		if slices.Contains(b.f.order(), "2") {
			t.Error("dispatched without its start mark")
		}
		dead := b.m.dead()
		if len(dead) != 1 || dead[0].ErrorType != "internal_error" || dead[0].RetryCount != 1 ||
			dead[0].CorrelationID != "corr" {
			t.Fatalf("dead letters %+v", dead)
		}
		var summary map[string]any
		if err := json.Unmarshal(dead[0].Summary, &summary); err != nil {
			t.Fatal(err)
		}
		want := `map[code_hash:hash code_size_bytes:11 correlation_id:corr has_idempotency_key:true input_hash: ` +
			`input_size_bytes:12 job_type:default parent_execution_id:parent timeout:7]`
		if got := fmt.Sprint(summary); got != want {
			t.Errorf("summary\n got %s\nwant %s", got, want)
		}
		b.stop()
	})
}

func TestLoadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("1", "a", 1))
		b.accept(spec("2", "a", 1))
		b.accept(spec("3", "a", 1))
		b.m.failing(2, "request")
		b.finishAll("1")
		time.Sleep(10 * time.Second)
		b.status("2", job.Running) // temporary failures are retried
		b.m.fail = func(op, id string) error {
			if op == "request" {
				return job.ErrNotFound
			}
			return nil
		}
		b.finishAll("2")
		rec := b.failedAs("3", job.TypeInternal)
		if rec.JobRef != "default@latest" || len(b.m.dead()) != 1 {
			t.Errorf("%+v, dead letters %+v", rec, b.m.dead())
		}
		b.stop()
	})
}

func TestRunnerPanicsBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.launch = func(string) error { panic("boom") }
		b.accept(spec("1", "a", 1))
		time.Sleep(time.Minute)
		b.failedAs("1", job.TypeInternal)
		if len(b.m.dead()) != 1 || len(b.f.order()) != 1 {
			t.Errorf("ran %v, dead letters %+v", b.f.order(), b.m.dead())
		}
		b.stop()
	})
}

// A run that the watchdog ended is a timeout, even if the runner reports a cancel, and keeps its
// output.
func TestOverdueRunKeepsItsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := must(New(with(narrow,
			runnerFunc(func(ctx context.Context, _ *job.Spec, o job.Observer) (*job.Result, error) {
				o.Started()
				<-ctx.Done()
				r := ended(job.CancelRequested, context.Cause(ctx), job.PhaseExecution)
				r.Stdout = "partial"
				return r, nil
			}), m)))
		if _, _, err := s.Submit(t.Context(), of(spec("1", "a", 1))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if rec := m.record("1"); rec.Status != job.Timeout || rec.Error.Type != job.TypeExecutionTimeout ||
			*rec.ExitCode != 124 || rec.Stdout != "partial" {
			t.Errorf("%+v %+v", rec, rec.Error)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestEndIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("1", "a", 1))
		e := b.byID["1"]
		b.finishAll("1")
		b.drop(e, errLaunch)
		if e.err != nil || b.busy != 0 {
			t.Errorf("%v, %d busy", e.err, b.busy)
		}
		b.stop()
	})
}

func TestPanicInTheWorkerLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.m.fail = func(op, id string) error {
			if op == "finish" && id == "1" {
				panic("store")
			}
			return nil
		}
		b.accept(spec("1", "a", 1))
		waiter := b.waitEnds("1")
		b.finishAll("1")
		if err := <-waiter; err == nil {
			t.Error("no error")
		}
		b.stats(0, 0)
		b.accept(spec("2", "a", 1))
		b.finishAll("2")
		b.status("2", job.Succeeded)
		b.stop()
	})
}
