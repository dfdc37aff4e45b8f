package scheduler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

// The real store and the fake must behave alike for a scheduler.
func TestLivesOverAStore(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		m := newMemory()
		testLives(t, func() (Store, func()) { return m, func() {} }, func() Store { return m.clone() })
	})
	t.Run("real", func(t *testing.T) {
		dir := t.TempDir()
		open := func(dir string) *store.Store {
			s, err := store.Open(context.Background(), store.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		testLives(t, func() (Store, func()) {
			s := open(dir)
			return s, func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}, func() Store {
			// The state that a killed process would leave behind.
			copied := t.TempDir()
			if err := os.CopyFS(filepath.Join(copied, "state"), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			s := open(filepath.Join(copied, "state"))
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		})
	})
}

// clone returns the state that a killed daemon would leave behind.
func (m *memory) clone() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	c.order = append(c.order, m.order...)
	for id, r := range m.records {
		kept := *r
		c.records[id], c.request[id] = &kept, m.request[id]
	}
	return c
}

// gate is a runner whose jobs begin and then wait until they are released or cancelled.
type gate struct {
	begun chan string
	mu    sync.Mutex
	open  map[string]chan struct{}
}

func newGate() *gate { return &gate{begun: make(chan string, 100), open: map[string]chan struct{}{}} }

func (g *gate) door(id string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id] == nil {
		g.open[id] = make(chan struct{})
	}
	return g.open[id]
}

func (g *gate) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	o.Started()
	g.begun <- s.ID
	r := ok()
	r.Stdout, r.StartedAt, r.EndedAt = "out of "+s.ID, time.Now(), time.Now()
	r.Artifacts = []job.Artifact{{Name: "f", Size: 1,
		SHA256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", Data: []byte("x")}}
	select {
	case <-g.door(s.ID):
		return r, nil
	case <-ctx.Done():
		c := job.CancelRequested
		if errors.Is(context.Cause(ctx), job.ErrShutdown) {
			c = job.Interrupted
		}
		e := ended(c, context.Cause(ctx), job.PhaseExecution)
		e.Stdout = "partial"
		return e, nil
	}
}

// testLives runs jobs across a stop and a crash. open opens the store. crashed opens the state that
// remains if the process is killed.
func testLives(t *testing.T, open func() (Store, func()), crashed func() Store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := Options{Budget: 1000 * mib, Workers: 3, Queue: 50, RetryOnInterrupt: retryB}
	start := func(st Store) (*Scheduler, *gate) {
		g := newGate()
		full := with(o, g, nil)
		full.Store = st
		return must(New(full)), g
	}
	is := func(st Store, id string, want job.Status, kind job.ErrorType) *job.Record {
		t.Helper()
		rec, err := st.Get(ctx, id)
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		got := job.ErrorType("")
		if rec.Error != nil {
			got = rec.Error.Type
		}
		if rec.Status != want || got != kind {
			t.Errorf("%s is %s %q, want %s %q", id, rec.Status, got, want, kind)
		}
		return rec
	}
	submit := func(s *Scheduler, id, kind string) {
		t.Helper()
		sub := ofKind(spec(id, "uid:1", 1), kind)
		sub.Record.IdempotencyKey, sub.Record.Fingerprint = "key-"+id, "f"
		if _, existed, err := s.Submit(ctx, sub); err != nil || existed {
			t.Fatalf("%s: %v %v", id, existed, err)
		}
	}

	// First daemon.
	st, shut := open()
	s, g := start(st)
	for _, id := range []string{"done", "hard", "again"} {
		submit(s, id, map[bool]string{true: "again", false: "default"}[id == "again"])
	}
	for range 3 {
		<-g.begun
	}
	for i := range 5 {
		submit(s, fmt.Sprint("q", i), "default")
	}
	sub := of(spec("other", "uid:1", 1))
	sub.Record.IdempotencyKey, sub.Record.Fingerprint = "key-hard", "f"
	if rec, existed, err := s.Submit(ctx, sub); err != nil || !existed || rec.ID != "hard" ||
		rec.Status != job.Running {
		t.Errorf("same key: %+v, %v, %v", rec, existed, err)
	}
	sub.Record.Fingerprint = "g"
	if _, _, err := s.Submit(ctx, sub); !errors.Is(err, job.ErrFingerprint) {
		t.Errorf("same key, something else: %v", err)
	}
	if found, err := s.Cancel(ctx, "q1"); !found || err != nil {
		t.Errorf("cancel: %v %v", found, err)
	}
	if rec := is(st, "q1", job.Cancelled, job.TypeCancelled); rec.ExitCode != nil || rec.DurationMS != nil {
		t.Errorf("%+v", rec)
	}
	close(g.door("done"))
	if err := s.Wait(ctx, "done"); err != nil {
		t.Error(err)
	}
	if rec := is(st, "done", job.Succeeded, ""); rec.Stdout != "out of done" || len(rec.Artifacts) != 1 ||
		rec.WorkerID == "" || !rec.Async || rec.CreatedAt.IsZero() {
		t.Errorf("%+v", rec)
	}
	<-g.begun // q0 has its slot now

	t.Run("crash", func(t *testing.T) {
		st := crashed()
		s, g := start(st)
		for _, id := range []string{"hard", "q0"} {
			is(st, id, job.Failed, job.TypeInterrupted)
		}
		ran := map[string]bool{}
		for range 4 {
			id := <-g.begun
			if ran[id] {
				t.Errorf("%s ran twice", id)
			}
			ran[id] = true
			close(g.door(id))
		}
		for _, id := range []string{"again", "q2", "q3", "q4"} {
			if err := s.Wait(ctx, id); err != nil {
				t.Error(err)
			}
			is(st, id, job.Succeeded, "")
		}
		is(st, "q1", job.Cancelled, job.TypeCancelled)
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})

	if err := s.Stop(hurry()); err != nil {
		t.Error(err)
	}
	if rec := is(st, "hard", job.Failed, job.TypeInterrupted); rec.Stdout != "partial" || *rec.ExitCode != -1 {
		t.Errorf("%+v", rec)
	}
	is(st, "q0", job.Failed, job.TypeInterrupted)
	for _, id := range []string{"again", "q2", "q3", "q4"} {
		is(st, id, job.Queued, "")
	}
	shut()

	// Second daemon.
	st, shut = open()
	s, g = start(st)
	for i := range 4 {
		id := <-g.begun
		if i < 1 && id == "q4" {
			t.Error("the last one goes first")
		}
		close(g.door(id))
	}
	for _, id := range []string{"again", "q2", "q3", "q4"} {
		if err := s.Wait(ctx, id); err != nil {
			t.Error(err)
		}
		is(st, id, job.Succeeded, "")
	}
	rec, result, err := s.Execute(ctx, of(spec("refused", "uid:1", 5000)), true, nil)
	if err == nil {
		t.Errorf("%v %v", rec, result)
	}
	close(g.door("sync"))
	if _, _, err := s.Execute(ctx, of(spec("sync", "uid:1", 1)), true, nil); err != nil {
		t.Error(err)
	}
	if rec := is(st, "sync", job.Succeeded, ""); rec.Async { // readable immediately
		t.Errorf("%+v", rec)
	}
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	shut()
}
