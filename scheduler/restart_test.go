package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// hurry returns a context that has ended.
func hurry() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func retryB(kind string) bool { return kind == "again" }

func ofKind(s *job.Spec, kind string) job.Submission {
	sub := of(s)
	sub.Record.JobType = kind
	return sub
}

// Ruling 4 across a stop: queued jobs stay queued, in order. A job whose code has begun is
// failed/interrupted, or is queued again if its type allows it.
func TestStopAndStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Budget: 1000 * mib, Workers: 3, Queue: 9, RetryOnInterrupt: retryB}
		b := newBench(t, o)
		booting := make(chan struct{})
		b.f.launch = func(id string) error {
			if id == "booting" {
				<-booting
				return errors.New("killed at its boot")
			}
			return nil
		}
		b.accept(spec("running", "a", 1))
		if _, _, err := b.Submit(t.Context(), ofKind(spec("again", "a", 1), "again")); err != nil {
			t.Fatal(err)
		}
		b.accept(spec("booting", "a", 1))
		for _, id := range []string{"q1", "q2", "q3"} {
			b.accept(spec(id, id, 1))
		}
		b.submit(t.Context(), spec("waits", "a", 1))
		ends := map[string]<-chan error{}
		for _, id := range []string{"running", "again", "booting", "q1"} {
			ends[id] = b.waitEnds(id)
		}
		stream, _ := b.Events(t.Context(), "q1", 0)
		stopped := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		go func() { stopped <- b.Stop(ctx) }()
		b.refused("waits", job.Unready)
		if _, _, err := b.Submit(t.Context(), of(spec("new", "a", 1))); err == nil {
			t.Error("accepted while stopping")
		}
		if found, err := b.Cancel(t.Context(), "q2"); found || err == nil {
			t.Errorf("a queued job can be cancelled again after the restart, not now: %v %v", found, err)
		}
		b.status("running", job.Running)
		time.Sleep(5 * time.Second)
		close(booting)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		rec := b.failedAs("running", job.TypeInterrupted)
		if rec.Error.Message != job.ErrShutdown.Error() {
			t.Error(rec.Error.Message)
		}
		for _, id := range []string{"again", "booting", "q1", "q2", "q3"} {
			b.status(id, job.Queued)
		}
		for id, c := range ends {
			if err := <-c; (err == nil) != (id == "running") {
				t.Errorf("waiter of %s: %v", id, err)
			}
		}
		for e := range stream {
			if e.Kind == job.EventResult {
				t.Error("a job that stays queued has a result")
			}
		}
		if len(b.m.dead()) != 0 {
			t.Errorf("%+v", b.m.dead())
		}

		o.Workers = 1
		b2 := newBenchOn(t, o, b.m)
		b2.stats(4, 1)
		if e := b2.byID["q3"]; e.spec != nil || e.request != nil || e.record != nil {
			t.Error("a restored job is held in memory")
		}
		if l, ok := b2.Live("q3"); !ok || l.Caller != "q3" || l.Position != 3 {
			t.Errorf("%+v %v", l, ok)
		}
		b2.finishAll("again", "q1", "q2", "q3", "booting") // caller a has two jobs
		for _, id := range []string{"again", "booting", "q1", "q2", "q3"} {
			b2.status(id, job.Succeeded)
		}
		if got := strings.Join(b2.f.order(), " "); got != "again q1 q2 q3 booting" {
			t.Error(got)
		}
		if rec := b2.m.record("again"); rec.Attempt != 1 {
			t.Errorf("attempt %d of a job that was begun once before", rec.Attempt)
		}
		if rec := b2.m.record("q1"); rec.Attempt != 0 {
			t.Errorf("attempt %d of a job that never began", rec.Attempt)
		}
		b2.stop()
	})
}

// Ruling 4 across a crash: the start mark means that a job may have begun.
func TestStartAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		add := func(id, caller, kind string, s job.Status, attempt int, memory int64) {
			rec := &job.Record{ID: id, Caller: caller, JobType: kind, Status: s, Async: true, Attempt: attempt,
				CreatedAt: time.Now().UTC(), IdempotencyKey: "key-" + id}
			if s == job.Running {
				rec.DequeuedAt, rec.WorkerID = time.Now().UTC(), "another life"
			}
			m.order = append(m.order, id)
			m.records[id], m.request[id] = rec, &job.Request{MemoryLimit: memory * mib}
		}
		add("r1", "a", "default", job.Running, 0, 1)
		add("q1", "a", "default", job.Queued, 0, 1)
		add("r2", "a", "again", job.Running, 0, 1)
		add("poison", "a", "again", job.Running, maxInterrupts-1, 1)
		add("done", "a", "default", job.Succeeded, 0, 1)
		add("norequest", "b", "default", job.Queued, 0, 1)
		delete(m.request, "norequest")
		add("gone", "b", "default", job.Queued, 0, 1)
		add("large", "b", "default", job.Queued, 0, 5000)
		add("q2", "b", "default", job.Queued, 0, 1)
		// the limit applies to new jobs, not to stored jobs
		o := Options{Budget: 1000 * mib, Workers: 1, Queue: 1, RetryOnInterrupt: retryB}
		o.Resolve = func(rec *job.Record, req *job.Request) (*job.Spec, error) {
			if rec.ID == "gone" {
				return nil, job.Refuse(job.NotFound, "Job type 'x' not found")
			}
			return spec(rec.ID, rec.Caller, req.MemoryLimit/mib), nil
		}
		b := newBenchOn(t, o, m)
		for _, id := range []string{"r1", "poison"} {
			rec := b.failedAs(id, job.TypeInterrupted)
			if rec.EndedAt.IsZero() || rec.StartedAt.IsZero() || rec.DurationMS == nil || rec.IdempotencyKey == "" ||
				rec.WorkerID != "another life" {
				t.Errorf("%+v", rec)
			}
		}
		b.failedAs("norequest", job.TypeInternal)
		b.failedAs("gone", job.TypeConfig)
		b.failedAs("large", job.TypeConfig)
		b.status("done", job.Succeeded)
		b.stats(2, 1)
		if _, _, err := b.Submit(t.Context(), of(spec("new", "a", 1))); err == nil {
			t.Error("the queue is full")
		}
		b.finishAll("q1", "q2", "r2")
		if got := strings.Join(b.f.order(), " "); got != "q1 q2 r2" {
			t.Error(got)
		}
		b.stop()
	})
}

func TestStartFailsWithTheStore(t *testing.T) {
	for _, op := range []string{"running", "queued", "finish"} {
		m := newMemory()
		m.order, m.records["1"] = []string{"1"}, &job.Record{ID: "1", Status: job.Running}
		m.failing(99, op)
		s, err := New(with(narrow, newFake(), m))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err == nil {
			t.Errorf("%s: started", op)
		}
		if err := s.Stop(hurry()); err != nil {
			t.Error(err)
		}
	}
}

func TestStopTwiceAndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(with(narrow, newFake(), newMemory()))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := s.Stop(hurry()); err != nil {
				t.Error(err)
			}
		}
		b := newBench(t, narrow)
		if err := b.Start(t.Context()); err != nil {
			t.Error(err)
		}
		b.accept(spec("1", "a", 1))
		errs := make(chan error, 4)
		for range 2 {
			go func() { errs <- b.Drain(context.Background()) }()
			go func() { errs <- b.Stop(context.Background()) }()
		}
		b.finishAll("1")
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		b.status("1", job.Succeeded)
	})
}

// A job that is being written while the daemon stops is still accepted: the store has it.
func TestStopWhileAccepting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.m.slow = make(chan struct{})
		errs := make(chan error, 1)
		go func() {
			_, _, err := b.Submit(context.Background(), of(spec("1", "a", 1)))
			errs <- err
		}()
		synctest.Wait()
		if err := b.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		close(b.m.slow)
		if err := <-errs; err != nil {
			t.Error(err)
		}
		b.status("1", job.Queued)
		if len(b.byID) != 0 || len(b.f.order()) != 0 {
			t.Errorf("%d left, ran %v", len(b.byID), b.f.order())
		}
	})
}

func TestStopBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		b.f.failLaunches(99)
		b.accept(spec("1", "a", 1))
		b.submit(t.Context(), spec("s", "b", 1))
		start := time.Now()
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 { // nothing runs
			t.Errorf("it took %s", took)
		}
		b.status("1", job.Queued)
		if a := b.answer("s"); a.err != nil || a.result.Error.Type != job.TypeUnavailable {
			t.Errorf("%+v", a)
		}
		b.stop()
	})
}

func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, narrow)
		time.Sleep(5 * time.Minute)
		if b.m.renewed != 0 {
			t.Error("renewed nothing")
		}
		s := spec("1", "a", 1)
		s.Timeout = time.Hour
		b.accept(s)
		for range 300 {
			time.Sleep(time.Second)
			b.m.mu.Lock()
			lease := b.m.leases["1"]
			b.m.mu.Unlock()
			if !lease.After(time.Now()) {
				t.Fatalf("the lease of a running job has ended")
			}
		}
		go func() { _ = b.Drain(context.Background()) }()
		time.Sleep(5 * time.Minute)
		b.m.mu.Lock()
		if !b.m.leases["1"].After(time.Now()) {
			t.Error("while draining it is not renewed")
		}
		b.m.mu.Unlock()
		b.finishAll("1")
		b.stop()
	})
}

func TestHolderNamesTheLife(t *testing.T) {
	if h := holder(); strings.Count(h, "-") < 6 || h != holder() { // a host, a UUID, a pid
		t.Error(h)
	}
}

// With concurrent cancels, waiters, stops and restarts, every accepted job ends, and none is lost
// or run after its end.
func TestRestartStorm(t *testing.T) {
	m := newMemory()
	o := Options{Budget: 100 * mib, Workers: 4, Queue: 50, RetryDelay: time.Millisecond, RetryOnInterrupt: retryB}
	accepted := map[string]bool{}
	for life := range 6 {
		s := must(New(with(o, runnerFunc(func(ctx context.Context, sp *job.Spec, ob job.Observer) (*job.Result, error) {
			if m.record(sp.ID).Status != job.Running {
				t.Errorf("%s runs and is %s", sp.ID, m.record(sp.ID).Status)
			}
			switch len(sp.ID) % 4 {
			case 0:
				return nil, errLaunch
			case 1:
				ob.Started()
				select {
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				case <-time.After(3 * time.Millisecond):
				}
			}
			return ok(), nil
		}), m)))
		done := make(chan struct{})
		ids := make(chan string, 100)
		go func() {
			defer close(done)
			for i := range 60 {
				id := fmt.Sprint("j", life, strings.Repeat("x", i%5), i)
				sub := ofKind(spec(id, fmt.Sprint(i%3), 1), []string{"default", "again"}[i%2])
				if _, _, err := s.Submit(context.Background(), sub); err == nil {
					ids <- id
				}
				if i%7 == 0 {
					_, _ = s.Cancel(context.Background(), id)
				}
				go func() { _ = s.Wait(context.Background(), id) }()
			}
			close(ids)
		}()
		time.Sleep(5 * time.Millisecond)
		if life%2 == 0 {
			<-done
		}
		if err := s.Stop(hurry()); err != nil {
			t.Error(err)
		}
		<-done
		for id := range ids {
			accepted[id] = true
		}
	}
	s := must(New(with(o, runnerFunc(
		func(context.Context, *job.Spec, job.Observer) (*job.Result, error) { return ok(), nil }), m)))
	for id := range accepted {
		if err := s.Wait(t.Context(), id); err != nil {
			t.Error(err)
		}
		if st := m.record(id).Status; !st.Terminal() {
			t.Errorf("%s is %s", id, st)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if s.used != 0 || len(s.byID) != 0 || s.busy != 0 || s.queue.len() != 0 || s.queue.held != 0 {
		t.Errorf("left: %d bytes, %d ids, %d busy, %d queued, %d held", s.used, len(s.byID), s.busy, s.queue.len(),
			s.queue.held)
	}
	if len(accepted) < 60 {
		t.Errorf("only %d were accepted", len(accepted))
	}
}
