package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// accept submits a job that must be accepted, and returns once the bubble is idle.
func (b *bench) accept(s *job.Spec) {
	b.t.Helper()
	rec, existed, err := b.Submit(b.t.Context(), of(s))
	if err != nil || existed || rec.ID != s.ID || rec.Status != job.Queued || !rec.Async || rec.CreatedAt.IsZero() {
		b.t.Fatalf("submit %s: %+v, %v, %v", s.ID, rec, existed, err)
	}
	synctest.Wait()
}

func (b *bench) status(id string, want job.Status) job.Record {
	b.t.Helper()
	synctest.Wait()
	rec := b.m.record(id)
	if rec.Status != want {
		b.t.Errorf("%s is %s, want %s", id, rec.Status, want)
	}
	return rec
}

// failedAs checks the error of a stored record.
func (b *bench) failedAs(id string, want job.ErrorType) job.Record {
	b.t.Helper()
	rec := b.status(id, job.Failed)
	if rec.Error == nil || rec.Error.Type != want || *rec.ExitCode != -1 {
		b.t.Errorf("%s: %+v, exit %v; want %s", id, rec.Error, rec.ExitCode, want)
	}
	return rec
}

func (b *bench) waitEnds(id string) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- b.Wait(context.Background(), id) }()
	synctest.Wait()
	return ended
}

func (b *bench) cancelled(id string) {
	b.t.Helper()
	found, err := b.Cancel(b.t.Context(), id)
	if !found || err != nil {
		b.t.Errorf("cancel %s: %v, %v", id, found, err)
	}
}

var narrow = Options{Budget: 1000 * mib, Workers: 1, Queue: 4}

func TestAsyncRunsAndIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.outcome = func(string) (*job.Result, error) {
			r := ok()
			ms := int64(5)
			r.Timing.StartupMS, r.StartedAt, r.EndedAt = &ms, time.Now().Add(-time.Second), time.Now()
			r.Artifacts = []job.Artifact{{Name: "a", Size: 1, SHA256: "aa", Data: []byte("x")}}
			r.Stdout, r.StdoutTruncated, r.Output = "out", true, []byte("[1]")
			return r, nil
		}
		b.accept(spec("1", "a", 1))
		b.accept(spec("2", "a", 1))
		if rec := b.status("1", job.Running); rec.WorkerID == "" || rec.Attempt != 0 ||
			b.m.leases["1"].Before(time.Now()) {
			t.Errorf("start mark %+v, lease until %s", rec, b.m.leases["1"])
		}
		b.status("2", job.Queued)
		if l, ok := b.Live("1"); !ok || l != (job.Live{Status: job.Running, Caller: "a"}) {
			t.Errorf("%+v %v", l, ok)
		}
		if l, ok := b.Live("2"); !ok || l != (job.Live{Status: job.Pending, Position: 1, Caller: "a"}) {
			t.Errorf("%+v %v", l, ok)
		}
		waiter := b.waitEnds("1")
		b.finishAll("1")
		if err := <-waiter; err != nil {
			t.Error(err)
		}
		rec := b.status("1", job.Succeeded)
		if rec.DurationMS == nil || *rec.DurationMS != 1000 || rec.DequeuedAt.IsZero() || rec.WorkerID == "" ||
			rec.MaxTries != 2 || rec.Timing == nil ||
			rec.Usage != nil || rec.Enforced.Runtime != "runsc" || len(rec.Artifacts) != 1 || rec.Stdout != "out" ||
			!rec.StdoutTruncated ||
			string(rec.Output) != "[1]" || rec.JobRef != "default@latest" || rec.StartedAt.Location() != time.UTC {
			t.Errorf("record %+v", rec)
		}
		if _, ok := b.Live("1"); ok {
			t.Error("live after its end")
		}
		if err := b.Wait(t.Context(), "1"); err != nil {
			t.Error(err)
		}
		b.finishAll("2")
		b.status("2", job.Succeeded)
		b.stop()
	})
}

// A job is loaded from the store when its turn comes and resolved under the current policy.
func TestWaitingJobsComeFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := narrow
		memory := int64(1)
		var resolved []string
		o.Resolve = func(rec *job.Record, req *job.Request) (*job.Spec, error) {
			resolved = append(resolved, rec.ID+req.Code)
			switch rec.ID {
			case "gone":
				return nil, job.Refuse(job.NotFound, "Job type 'x' not found")
			case "broken":
				return nil, errors.New("secret of the host")
			}
			return spec(rec.ID, rec.Caller, memory), nil
		}
		b := newBench(t, o)
		b.accept(spec("1", "a", 1))
		for _, id := range []string{"2", "gone", "broken", "large"} {
			s := spec(id, "a", 1)
			s.Code = "-code"
			b.accept(s)
		}
		if e := b.byID["2"]; e.spec != nil || e.record != nil || e.request != nil {
			t.Error("a waiting job is held in memory")
		}
		b.finishAll("1", "2")
		memory = 5000
		b.failedAs("gone", job.TypeConfig)
		if rec := b.failedAs("broken", job.TypeInternal); strings.Contains(rec.Error.Message, "secret") {
			t.Error(rec.Error.Message)
		}
		synctest.Wait()
		b.stop()
		if fmt.Sprint(resolved) != "[2-code gone-code broken-code large-code]" {
			t.Error(resolved)
		}
	})
}

func TestResizedJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Budget: 100 * mib, Workers: 2, Queue: 9}
		now := map[string]int64{"grown": 60, "shrunk": 10, "toolarge": 200}
		o.Resolve = func(rec *job.Record, _ *job.Request) (*job.Spec, error) {
			return spec(rec.ID, rec.Caller, now[rec.ID]), nil
		}
		b := newBench(t, o)
		b.accept(spec("1", "a", 50))
		b.accept(spec("2", "a", 50))
		for _, id := range []string{"toolarge", "grown", "shrunk"} {
			b.accept(spec(id, "a", 40))
		}
		b.finishAll("1")
		b.failedAs("toolarge", job.TypeConfig)
		b.status("grown", job.Queued) // 50 + 60 do not fit; it waits for its turn once more
		b.status("shrunk", job.Queued)
		if b.used != 50*mib+0 {
			t.Errorf("%d bytes in use", b.used)
		}
		b.finishAll("2")
		b.status("grown", job.Running)
		b.status("shrunk", job.Running)
		if b.used != 70*mib {
			t.Errorf("%d bytes in use", b.used)
		}
		b.finishAll("grown", "shrunk")
		if b.used != 0 {
			t.Errorf("%d bytes in use", b.used)
		}
		b.stop()
	})
}

func TestIdempotencyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		sub := func(id, fingerprint string) job.Submission {
			s := of(spec(id, "a", 1))
			s.Record.IdempotencyKey, s.Record.Fingerprint = "key", fingerprint
			return s
		}
		if _, _, err := b.Submit(t.Context(), sub("1", "f")); err != nil {
			t.Fatal(err)
		}
		rec, existed, err := b.Submit(t.Context(), sub("2", "f"))
		if err != nil || !existed || rec.ID != "1" {
			t.Errorf("%+v %v %v", rec, existed, err)
		}
		if _, _, err := b.Submit(t.Context(), sub("3", "other")); !errors.Is(err, job.ErrFingerprint) {
			t.Error(err)
		}
		b.stats(0, 1)
		b.finishAll("1")
		if len(b.byID) != 0 || len(b.f.order()) != 1 {
			t.Errorf("%d left, ran %v", len(b.byID), b.f.order())
		}
		b.stop()
	})
}

// A repeated submission needs no place in the queue.
func TestIdempotencyKeyWhileTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		sub := func(id, key, fingerprint string) job.Submission {
			s := of(spec(id, "a", 1))
			s.Record.IdempotencyKey, s.Record.Fingerprint = key, fingerprint
			return s
		}
		for i := range 5 {
			if _, _, err := b.Submit(t.Context(), sub(fmt.Sprint(i), fmt.Sprint("key", i), "f")); err != nil {
				t.Fatal(err)
			}
		}
		if rec, existed, err := b.Submit(t.Context(), sub("x", "key3", "f")); err != nil || !existed || rec.ID != "3" {
			t.Errorf("%+v %v %v", rec, existed, err)
		}
		if rec, existed, err := b.Submit(t.Context(), sub("x", "key3", "g")); !errors.Is(err, job.ErrFingerprint) ||
			existed || rec != nil {
			t.Errorf("%+v %v %v", rec, existed, err)
		}
		var r *job.Refusal
		if _, _, err := b.Submit(t.Context(), sub("x", "new", "f")); !errors.As(err, &r) || r.Reason != job.QueueFull {
			t.Error(err)
		}
		other := sub("x", "key3", "f")
		other.Record.Caller, other.Spec.Caller = "b", "b"
		// keys are scoped to their caller
		if rec, existed, err := b.Submit(t.Context(), other); err != nil || existed || rec.ID != "x" {
			t.Errorf("%+v %v %v", rec, existed, err)
		}
		if err := b.Stop(hurry()); err != nil {
			t.Error(err)
		}
	})
}

// Ruling 2: nothing is stored, so the idempotency key stays free.
func TestFullQueueKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		for i := range 5 {
			b.accept(spec(fmt.Sprint(i), "a", 1))
		}
		_, _, err := b.Submit(t.Context(), of(spec("5", "a", 1)))
		var r *job.Refusal
		if !errors.As(err, &r) || r.Reason != job.QueueFull || r.RetryAfter < time.Second {
			t.Errorf("%v", err)
		}
		if b.m.record("5").ID != "" {
			t.Error("it was written")
		}
		// Accepted jobs stay, and another caller still gets in.
		b.accept(spec("b", "b", 1))
		if _, _, err := b.Submit(t.Context(), of(spec("b2", "b", 1))); err == nil {
			t.Error("and has more than a little room")
		}
		b.finishAll("0", "1", "b", "2", "3", "4")
		if got := strings.Join(b.f.order(), " "); got != "0 1 b 2 3 4" {
			t.Error(got)
		}
		b.stop()
	})
}

func TestAcceptedJobsAreNeverPushedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 8})
		b.submit(t.Context(), spec("run", "a", 1))
		for i := range 6 {
			b.accept(spec(fmt.Sprint("a", i), "a", 1))
		}
		b.submit(t.Context(), spec("sync1", "a", 1))
		b.submit(t.Context(), spec("sync2", "a", 1))
		b.accept(spec("b0", "b", 1))
		b.refused("sync2", job.QueueFull)
		b.accept(spec("b1", "b", 1))
		b.refused("sync1", job.QueueFull)
		_, _, err := b.Submit(t.Context(), of(spec("b2", "b", 1)))
		if err == nil {
			t.Error("b has more than its share of the room that is kept for those who have little")
		}
		b.accept(spec("c0", "c", 1)) // one eighth of 8 places
		b.finishAll("run", "a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4", "a5")
		if got := len(b.f.order()); got != 10 {
			t.Errorf("%v", b.f.order())
		}
		b.stop()
	})
}

// The extra room for callers with short lines is limited, and equal callers do not displace each
// other.
func TestBoundOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 8})
		b.accept(spec("run", "a", 1))
		in := 0
		for i := range 40 {
			if _, _, err := b.Submit(t.Context(), of(spec(fmt.Sprint(i), fmt.Sprint("caller", i), 1))); err == nil {
				in++
			}
		}
		if in != 16 {
			t.Errorf("%d wait where 8 should", in)
		}
		if err := b.Stop(hurry()); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 3})
		for _, id := range []string{"a0", "a1", "a2", "b1", "b2"} {
			b.submit(t.Context(), spec(id, id[:1], 1))
		}
		b.refused("b2", job.QueueFull) // both callers would have two
		b.finishAll("a0", "a1", "b1", "a2")
		b.stop()
	})
}

func TestCancelLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 100 * mib, Workers: 2, Queue: 100})
		b.accept(spec("1", "a", 50))
		b.accept(spec("large", "b", 100))
		b.byID["large"].overtaken = maxOvertaken // it blocks the others
		b.accept(spec("2", "a", 50))
		b.status("2", job.Queued)
		b.cancelled("large")
		b.status("2", job.Running)
		b.finishAll("1", "2")
		b.stop()
	})
}

// A free slot counts as room while the jobs that will take it are still being written.
func TestManySubmittersAtOnceMeetFreeSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 10, Queue: 2})
		b.m.slow = make(chan struct{})
		errs := make(chan error, 20)
		for i := range 14 {
			go func() {
				_, _, err := b.Submit(context.Background(), of(spec(fmt.Sprint(i), "a", 1)))
				errs <- err
			}()
		}
		synctest.Wait()
		if len(errs) != 2 { // 10 slots and 2 places
			t.Errorf("%d are refused", len(errs))
		}
		if l, ok := b.Live("0"); ok {
			t.Errorf("live before it is accepted: %+v", l)
		}
		if found, err := b.Cancel(t.Context(), "0"); found || err != nil {
			t.Errorf("cancelled before it is accepted: %v %v", found, err)
		}
		close(b.m.slow)
		synctest.Wait()
		b.stats(2, 10)
		for i := range 14 {
			b.f.finish(fmt.Sprint(i))
		}
		b.stop()
	})
}

func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.m.failing(1, "accept")
		if rec, existed, err := b.Submit(t.Context(), of(spec("1", "a", 1))); err == nil || existed || rec != nil {
			t.Errorf("%v %v %v", rec, existed, err)
		}
		b.m.fail = func(string, string) error { return fmt.Errorf("accept: %w", job.ErrNoSpace) }
		_, _, err := b.Submit(t.Context(), of(spec("1", "a", 1)))
		var r *job.Refusal
		if !errors.As(err, &r) || r.Reason != job.NoSpace {
			t.Error(err)
		}
		b.m.fail = nil
		b.stats(0, 0)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		// the outcome must be known
		if _, _, err := b.Submit(gone, of(spec("1", "a", 1))); err != nil {
			t.Error(err)
		}
		b.finishAll("1")
		b.status("1", job.Succeeded)
		b.stop()
	})
}

func TestCancelAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("running", "a", 1))
		b.accept(spec("queued", "a", 1))
		waiter := b.waitEnds("queued")
		b.m.failing(1, "finish")
		if found, err := b.Cancel(t.Context(), "queued"); !found || err == nil {
			t.Errorf("the store failed: %v, %v", found, err)
		}
		b.status("queued", job.Queued)
		if l, ok := b.Live("queued"); !ok || l.Position != 1 {
			t.Errorf("after a failed cancel: %+v, %v", l, ok)
		}
		b.cancelled("queued")
		// Terminal at once, not at the next dispatch.
		if rec := b.m.record("queued"); rec.Status != job.Cancelled || rec.ExitCode != nil ||
			rec.Error.Type != job.TypeCancelled ||
			rec.Error.Message != "Execution was cancelled by user" || !rec.StartedAt.IsZero() || rec.EndedAt.IsZero() ||
			rec.DurationMS != nil {
			t.Errorf("record %+v", rec)
		}
		if err := <-waiter; err != nil {
			t.Error(err)
		}
		b.cancelled("running")
		if rec := b.m.record("running"); rec.Status != job.Cancelled { // when the answer comes
			t.Errorf("%+v", rec)
		}
		if found, err := b.Cancel(t.Context(), "running"); found || err != nil {
			t.Errorf("after its end: %v, %v", found, err)
		}
		if slices.Contains(b.f.order(), "queued") {
			t.Error("it ran after the cancel")
		}
		b.stop()
	})
}

// Cancel waits for the job's end, up to cancelWait.
func TestCancelOfAStubbornRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.stubborn = true
		b.accept(spec("1", "a", 1))
		start := time.Now()
		b.cancelled("1")
		if took := time.Since(start); took != cancelWait {
			t.Errorf("it took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if found, err := b.Cancel(ctx, "1"); !found || err != nil || time.Since(start) != cancelWait+time.Second {
			t.Errorf("%v %v after %s", found, err, time.Since(start))
		}
		b.finishAll("1")
		b.stop()
	})
}

func TestCancelledSyncRunIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.submit(t.Context(), spec("1", "a", 1))
		b.submit(t.Context(), spec("2", "a", 1))
		b.cancelled("2")
		b.cancelled("1")
		for _, id := range []string{"1", "2"} {
			if a := b.answer(id); a.record.Status != job.Cancelled || b.m.record(id).Status != job.Cancelled ||
				a.record.Async {
				t.Errorf("%s: %+v", id, a.record)
			}
		}
		if _, _, err := b.Execute(t.Context(), of(spec("3", "a", 5000)), true, nil); err == nil {
			t.Error("too large")
		}
		b.f.finish("4")
		if _, _, err := b.Execute(t.Context(), of(spec("4", "a", 1)), false, nil); err != nil {
			t.Error(err)
		}
		if _, ok := b.Events(t.Context(), "4", 0); ok {
			t.Error("the stream of a job that is not kept can be read after its end")
		}
		if b.m.saved != 2 {
			t.Errorf("%d saved", b.m.saved)
		}
		b.stop()
	})
}

// A result wins over a later cancel.
func TestRealResultWinsOverCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s := must(New(with(narrow,
			runnerFunc(func(ctx context.Context, _ *job.Spec, _ job.Observer) (*job.Result, error) {
				<-ctx.Done()
				return ok(), nil
			}), m)))
		if _, _, err := s.Submit(t.Context(), of(spec("1", "a", 1))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if found, err := s.Cancel(t.Context(), "1"); found || err != nil {
			t.Error("a job that had ended by itself was cancelled:", found, err)
		}
		if rec := m.record("1"); rec.Status != job.Succeeded {
			t.Errorf("%+v", rec)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestQueueTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := narrow
		o.QueueTTL = time.Minute
		b := newBench(t, o)
		b.accept(spec("running", "a", 1))
		b.accept(spec("late", "a", 1))
		time.Sleep(30 * time.Second)
		b.accept(spec("next", "a", 1))
		waiter := b.waitEnds("late")
		time.Sleep(30*time.Second - 1)
		b.status("late", job.Queued)
		time.Sleep(time.Nanosecond)
		rec := b.failedAs("late", job.TypeTimeout)
		if !strings.Contains(rec.Error.Message, "queue_ttl_seconds (60)") {
			t.Error(rec.Error.Message)
		}
		if err := <-waiter; err != nil {
			t.Error(err)
		}
		b.status("running", job.Running)
		b.finishAll("running")
		time.Sleep(time.Hour) // the clock is of the queue, not of the run
		synctest.Wait()
		if slices.Contains(b.f.order(), "late") {
			t.Error("it ran after its time")
		}
		if rec := b.m.record("next"); rec.Error != nil && rec.Error.Type == job.TypeTimeout {
			t.Errorf("%+v", rec.Error)
		}
		b.stop()
	})
}

// The queue TTL may fire while the job has a goroutine that waits for another turn.
func TestExpiryBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.failLaunches(1)
		b.accept(spec("1", "a", 1))
		b.accept(spec("2", "a", 1))
		time.Sleep(5 * time.Second)
		b.stats(1, 1)
		b.expire(b.byID["1"])
		b.stats(1, 1)
		b.finishAll("2", "1")
		b.status("1", job.Succeeded)
		b.stop()
	})
}

func TestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Budget: 1000 * mib, Workers: 1, Queue: 20})
		b.accept(spec("run", "a", 1))
		ids := []string{"a0", "a1", "a2", "b0", "c0", "c1"}
		for _, id := range ids {
			b.accept(spec(id, id[:1], 1))
		}
		want := map[string]int{}
		for _, id := range ids {
			l, _ := b.Live(id)
			want[id] = l.Position
		}
		b.finishAll("run", "a0", "a1", "a2", "b0", "c0", "c1")
		for i, id := range b.f.order()[1:] {
			if want[id] != i+1 {
				t.Errorf("%s was said to be number %d, and ran as %d", id, want[id], i+1)
			}
		}
		b.stop()
	})
}

// The record is durable before its end is published. If it cannot be written, no success is
// published.
func TestFinishFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("1", "a", 1))
		b.m.failing(2, "finish")
		waiter := b.waitEnds("1")
		b.finishAll("1")
		b.status("1", job.Running)
		select {
		case err := <-waiter:
			t.Errorf("told before the record was there: %v", err)
		default:
		}
		b.stats(0, 1) // its slot is taken, too: the result is still in memory
		if err := <-waiter; err != nil {
			t.Error(err)
		}
		b.status("1", job.Succeeded)

		b.accept(spec("2", "a", 1))
		b.m.failing(1000, "finish")
		waiter = b.waitEnds("2")
		stream, _ := b.Events(t.Context(), "2", 0)
		b.finishAll("2")
		if err := <-waiter; err == nil {
			t.Error("a record that could not be written is a success")
		}
		for e := range stream {
			if e.Kind == job.EventResult {
				t.Error("the stream tells a result that nobody kept")
			}
		}
		if dead := b.m.dead(); len(dead) != 1 || dead[0].JobID != "2" ||
			strings.Contains(dead[0].ErrorMessage, "state/db") {
			t.Errorf("dead letters %+v", dead)
		}
		b.stats(0, 0)
		b.m.fail = nil
		b.stop()
	})
}

func TestLiveOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("1", "a", 1))
		b.accept(spec("2", "a", 1))
		if _, ok := b.Events(t.Context(), "3", 0); ok {
			t.Error("a stream of nothing")
		}
		kinds := make(chan string, 2)
		read := func(id string) {
			events, ok := b.Events(context.Background(), id, 0)
			if !ok {
				t.Errorf("no stream of %s", id)
				return
			}
			go func() {
				var got []string
				for e := range events {
					got = append(got, string(e.Kind)+e.Text)
					if e.Kind == job.EventResult && (e.Record == nil || b.m.record(id).Status != e.Record.Status) {
						t.Errorf("result %+v, store %+v", e.Record, b.m.record(id))
					}
				}
				kinds <- strings.Join(got, " ")
			}()
		}
		read("1")
		b.finishAll("1")
		if got := <-kinds; got != "queued started stdoutx result" {
			t.Error(got)
		}
		read("1") // it ended a moment ago
		if got := <-kinds; got != "queued started stdoutx result" {
			t.Error(got)
		}
		b.cancelled("2")
		synctest.Wait()
		read("2")
		if got := <-kinds; got != "queued started stdoutx result" {
			t.Error(got)
		}
		b.stop()
	})
}

func TestExecuteHandsOutItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.finish("1")
		kinds := make(chan string, 1)
		watch := func(events iter.Seq[job.Event]) {
			go func() {
				all := ""
				for e := range events {
					all += fmt.Sprintf("%d%s(%s) ", e.ID, e.Kind, e.Text)
				}
				kinds <- all
			}()
		}
		if _, _, err := b.Execute(t.Context(), of(spec("1", "a", 1)), true, watch); err != nil {
			t.Error(err)
		}
		if got := <-kinds; got != "1queued() 2started() 3stdout(x) 4result() " {
			t.Errorf("stream %q", got)
		}
		if events, ok := b.Events(t.Context(), "1", 2); !ok {
			t.Error("no stream")
		} else {
			n := 0
			for range events {
				n++
			}
			if n != 2 {
				t.Errorf("%d events", n)
			}
		}
		b.stop()
	})
}

// 500 waiters and 200 readers, most of whom give up early, must not affect the jobs or leak
// goroutines (goleak).
func TestWaitersAndReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.accept(spec("1", "a", 1))
		b.accept(spec("2", "a", 1))
		before := runtime.NumGoroutine()
		ended, read := make(chan error, 500), make(chan int, 200)
		for i := range 500 {
			go func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if i%2 == 0 {
					time.AfterFunc(time.Second, cancel)
				}
				ended <- b.Wait(ctx, fmt.Sprint(1+i%2))
			}()
		}
		for i := range 200 {
			go func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if i%2 == 0 {
					time.AfterFunc(time.Second, cancel)
				}
				events, _ := b.Events(ctx, fmt.Sprint(1+i%2), 0)
				n := 0
				for range events {
					n++
				}
				read <- n
			}()
		}
		time.Sleep(2 * time.Second)
		b.status("1", job.Running)
		b.finishAll("1", "2")
		failed, told := 0, 0
		for range 500 {
			if err := <-ended; err != nil {
				failed++
			}
		}
		for range 200 {
			if <-read == 4 {
				told++
			}
		}
		if failed != 250 || told != 100 {
			t.Errorf("%d waiters gave up, %d readers heard all", failed, told)
		}
		synctest.Wait()
		if now := runtime.NumGoroutine(); now > before {
			t.Errorf("%d goroutines before, %d after", before, now)
		}
		b.stop()
	})
}

func TestMemoryOfTheQueue(t *testing.T) {
	m := newMemory()
	o := with(Options{Budget: 1000 * mib, Workers: 1, Queue: 10000},
		runnerFunc(func(ctx context.Context, _ *job.Spec, _ job.Observer) (*job.Result, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}), m)
	o.Store = drain{m}
	s := must(New(o))
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := heap()
	const n = 4000
	for i := range n {
		j := spec(fmt.Sprintf("job-%032d", i), "uid:1000", 1)
		j.Code = strings.Repeat("x", 10<<10)
		if _, _, err := s.Submit(t.Context(), of(j)); err != nil {
			t.Fatal(err)
		}
	}
	per1000 := (heap() - before) * 1000 / n
	t.Logf("%d bytes for 1,000 queued jobs", per1000)
	if per1000 > 5_000_000 {
		t.Errorf("%d bytes for 1,000 queued jobs, want at most 5 MB", per1000)
	}
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(now); err != nil {
		t.Error(err)
	}
}

// drain is a Store that accepts everything and keeps nothing.
type drain struct{ *memory }

func (drain) Accept(context.Context, *job.Record, *job.Request) (*job.Record, error) { return nil, nil }
func (drain) Begin(context.Context, string, int, string, time.Time) error            { return nil }
func (drain) Requeue(context.Context, string) error                                  { return nil }
func (drain) Finish(context.Context, *job.Record, []job.Artifact) error              { return nil }
