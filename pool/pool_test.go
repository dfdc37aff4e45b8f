package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeHost counts the sandboxes that it pretends to boot.
type fakeHost struct {
	took   time.Duration // duration of a boot
	broken atomic.Value  // func(sandbox.Shape) error; unset means that every boot works

	boots, sentries, adds, alive, leases atomic.Int64
	background                           atomic.Int64

	noSentries atomic.Bool
	hurried    atomic.Int64

	mu  sync.Mutex
	all []*fakeSandbox
}

type fakeSandbox struct {
	h     *fakeHost
	shape sandbox.Shape
	size  sandbox.Size
	dead  atomic.Bool
	gone  atomic.Bool
	given atomic.Int64
}

func (h *fakeHost) make(ctx context.Context, s sandbox.Shape) (*fakeSandbox, error) {
	slow := time.After(h.took)
	for booted := false; !booted; {
		select {
		case <-slow:
			booted = true
		case <-s.Hurry:
			h.hurried.Add(1)
			s.Hurry = nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if f, ok := h.broken.Load().(func(sandbox.Shape) error); ok {
		if err := f(s); err != nil {
			return nil, err
		}
	}
	h.alive.Add(1)
	b := &fakeSandbox{h: h, shape: s}
	h.mu.Lock()
	h.all = append(h.all, b)
	h.mu.Unlock()
	return b, nil
}

func (h *fakeHost) killAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.all {
		b.dead.Store(true)
	}
}

func (h *fakeHost) Boot(ctx context.Context, s sandbox.Shape) (Sandbox, error) {
	h.boots.Add(1)
	if s.Background {
		h.background.Add(1)
	}
	b, err := h.make(ctx, s)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (h *fakeHost) BootSentry(ctx context.Context, size sandbox.Size) (Sentry, error) {
	h.sentries.Add(1)
	if h.noSentries.Load() {
		return nil, sandbox.ErrNoSentry
	}
	b, err := h.make(ctx, sandbox.Shape{})
	if err != nil {
		return nil, err
	}
	b.size = size
	return fakeSentry{b}, nil
}

type fakeSentry struct{ *fakeSandbox }

func (s fakeSentry) Add(ctx context.Context, shape sandbox.Shape) (Sandbox, error) {
	s.h.adds.Add(1)
	if s.dead.Load() || s.size != sandbox.SizeOf(shape.Limits) {
		return nil, errors.Join(errors.New("add to a dead sentry, or one of another size"), s.Destroy(ctx))
	}
	s.shape = shape
	return s.fakeSandbox, nil
}

func (b *fakeSandbox) Run(context.Context, *job.Spec, time.Time, job.Observer) (*job.Result, error) {
	panic("not called")
}

func (b *fakeSandbox) Waiting() error {
	if b.dead.Load() {
		return errors.New("dead")
	}
	return nil
}

func (b *fakeSandbox) Footprint() int64 { return 10 }

func (b *fakeSandbox) Destroy(context.Context) error {
	if !b.gone.Swap(true) {
		b.h.alive.Add(-1)
	}
	return nil
}

func shape(name string, memory int64) sandbox.Shape {
	s := sandbox.Shape{Language: job.Python, Limits: job.Limits{Memory: memory, CPU: 1}}
	s.Root.Key, s.Root.Kind = name, rootfs.EROFS
	return s
}

func (h *fakeHost) wanted(shapes ...sandbox.Shape) (out []Wanted) {
	for _, s := range shapes {
		out = append(out, Wanted{Name: "job type t, image i", Shape: s, Lease: func() (func(), error) {
			h.leases.Add(1)
			return func() { h.leases.Add(-1) }, nil
		}})
	}
	return out
}

// bubble runs f with a pool over a fake host in a synctest bubble and checks that nothing is left.
func bubble(t *testing.T, o Options, f func(t *testing.T, p *Pool, h *fakeHost)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHost{took: 100 * time.Millisecond}
		o.Host = h
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		p.SetRoom(1 << 40)
		f(t, p, h)
		for range 2 {
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Take(t.Context(), shape("a", 1)); !errors.Is(err, ErrClosed) {
			t.Errorf("take after close: %v", err)
		}
		if n := h.alive.Load(); n != 0 {
			t.Errorf("%d sandboxes are left", n)
		}
		if n := h.leases.Load(); n != 0 {
			t.Errorf("%d leases are left", n)
		}
		if p.held != 0 {
			t.Errorf("%d bytes are left", p.held)
		}
	})
}

// take takes a sandbox and destroys it.
func take(t *testing.T, p *Pool, s sandbox.Shape, want Tier) *fakeSandbox {
	t.Helper()
	got, err := p.Take(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Tier != want {
		t.Errorf("the sandbox is %s, want %s", got.Tier, want)
	}
	b := got.Sandbox.(*fakeSandbox)
	if b.given.Add(1) != 1 {
		t.Error("a sandbox was given twice")
	}
	if b.shape.Key() != s.Key() {
		t.Error("a sandbox of another shape")
	}
	if err := got.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	return b
}

func settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

func TestHot(t *testing.T) {
	bubble(t, Options{Min: 2, Max: 4}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1<<20)
		take(t, p, a, Cold)
		p.Keep(h.wanted(a))
		settle()
		if s := p.Stats(); s.HotWaiting != 2 || s.Bytes != 20 || h.leases.Load() != 2 {
			t.Fatalf("%+v, %d leases", s, h.leases.Load())
		}
		take(t, p, a, Hot)
		take(t, p, a, Hot)
		take(t, p, shape("b", 1<<20), Cold)
		settle()
		if s := p.Stats(); s.HotWaiting < 2 || s.HotWaiting > 4 || s.Hot != 2 || s.Cold != 2 {
			t.Errorf("%+v", s)
		}
		if h.background.Load() != h.boots.Load()-2 {
			t.Errorf("%d of %d boots were for nobody, want all but 2", h.background.Load(), h.boots.Load())
		}
	})
}

func TestDemandRaisesAndLowersWhatWaits(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 8}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		p.Keep(h.wanted(a))
		settle()
		for range 100 {
			got, err := p.Take(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			_ = got.Destroy(t.Context())
			time.Sleep(50 * time.Millisecond)
		}
		settle()
		if n := p.Stats().HotWaiting; n < 3 || n > 8 {
			t.Errorf("%d wait under load", n)
		}
		time.Sleep(5 * time.Minute)
		if n := p.Stats().HotWaiting; n != 1 {
			t.Errorf("%d wait long after the load", n)
		}
	})
}

func TestDeadOnesAreThrownAway(t *testing.T) {
	bubble(t, Options{Min: 2, Max: 2, WarmMax: 1, Every: time.Hour}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		p.Keep(h.wanted(a))
		settle()
		h.killAll()
		take(t, p, a, Cold) // neither the dead sandbox nor the dead sentry
		settle()
		take(t, p, a, Hot)
		h.killAll()
		time.Sleep(time.Hour + time.Second) // the inspection finds it without a Take
		synctest.Wait()
		if s := p.Stats(); s.HotWaiting != 2 || s.WarmWaiting != 1 {
			t.Errorf("%+v", s)
		}
		take(t, p, a, Hot)
	})
}

func TestKeepReplaces(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 2}, func(t *testing.T, p *Pool, h *fakeHost) {
		p.Keep(h.wanted(shape("old", 1), shape("both", 1)))
		settle()
		p.Keep(h.wanted(shape("both", 1), shape("new", 1)))
		settle()
		if n := h.alive.Load(); n != 2 {
			t.Errorf("%d alive, want one of each wanted shape", n)
		}
		take(t, p, shape("old", 1), Cold)
		take(t, p, shape("both", 1), Hot)
		take(t, p, shape("new", 1), Hot)

		p.Keep(h.wanted(shape("late", 1)))
		time.Sleep(50 * time.Millisecond) // the boot is running
		p.Keep(nil)
		settle()
		if n := h.alive.Load(); n != 0 {
			t.Errorf("%d alive although none is wanted", n)
		}
	})
}

func TestNothingWaitsWhenNothingMay(t *testing.T) {
	var bad atomic.Bool
	check := func() error {
		if bad.Load() {
			return errors.New("runsc has changed")
		}
		return nil
	}
	bubble(t, Options{Min: 2, Max: 2, WarmMax: 2, Check: check}, func(t *testing.T, p *Pool, h *fakeHost) {
		p.Keep(h.wanted(shape("a", 1)))
		settle()
		h.broken.Store(func(sandbox.Shape) error { return check() })
		bad.Store(true)
		settle()
		if n := h.alive.Load(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

func TestWaitingGivesWay(t *testing.T) {
	bubble(t, Options{Min: 3, Max: 3, WarmMax: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		p.Keep(h.wanted(shape("a", 1)))
		settle()
		if n := h.alive.Load(); n != 4 {
			t.Fatalf("%d wait, want 4", n)
		}
		p.SetRoom(25)
		synctest.Wait()
		if s := p.Stats(); s.Bytes > 25 || s.HotWaiting != 2 || s.WarmWaiting != 0 {
			t.Errorf("%+v, want two hot ones in 25 bytes", s)
		}
		p.SetRoom(-5)
		settle()
		if n := h.alive.Load(); n != 0 {
			t.Errorf("%d wait without room", n)
		}
		take(t, p, shape("a", 1), Cold)
		p.SetRoom(guess - 1) // no boot before a sandbox fits
		settle()
		p.SetRoom(1 << 40)
		settle()
		if n := h.alive.Load(); n != 4 {
			t.Errorf("%d wait when there is room again", n)
		}
	})
}

func TestWarm(t *testing.T) {
	bubble(t, Options{Min: 0, Max: 1, WarmMax: 2}, func(t *testing.T, p *Pool, h *fakeHost) {
		a, big := shape("a", 1<<20), shape("b", 2<<20)
		p.Keep(h.wanted(a))
		settle()
		if s := p.Stats(); s.WarmWaiting != 2 {
			t.Fatalf("%+v", s)
		}
		take(t, p, shape("any image", 1<<20), Warm)
		take(t, p, big, Cold)
		settle()
		take(t, p, big, Warm) // its size was requested, so it has a place now
		take(t, p, shape("b", 1<<20), Warm)
		settle()
		if s := p.Stats(); s.Warm != 3 || s.WarmWaiting != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPlacesOfSentriesGoToWhoAsksMost(t *testing.T) {
	bubble(t, Options{Max: 1, WarmMax: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		small, big := shape("x", 1<<20), shape("x", 2<<20)
		p.Keep(h.wanted(small))
		settle()
		take(t, p, big, Cold)
		settle()
		take(t, p, big, Warm)
		settle()
		take(t, p, small, Cold) // a single request does not displace a sentry
		settle()
		take(t, p, big, Warm)
		settle()
		if n := h.sentries.Load(); n != 4 {
			t.Errorf("%d empty sandboxes were booted, want 4", n)
		}
	})
}

func TestOneThatBootsIsPromised(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		p.Keep(h.wanted(a))
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		start := time.Now()
		take(t, p, a, Hot)
		if n := h.hurried.Load(); n != 1 {
			t.Errorf("%d boots were told to hurry, want 1", n)
		}
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("waited %s, want the rest of a boot", d)
		}
		settle()
		take(t, p, a, Hot)
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		go func() { time.Sleep(10 * time.Millisecond); cancel(why) }()
		if _, err := p.Take(ctx, a); !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		settle()
		take(t, p, a, Hot) // kept for the next job

		synctest.Wait()
		h.broken.Store(func(s sandbox.Shape) error {
			if s.Background {
				return errors.New("no")
			}
			return nil
		})
		take(t, p, a, Cold) // the awaited boot failed
	})
}

func TestHostWithoutEROFSHasNoSentries(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 1, WarmMax: 2}, func(t *testing.T, p *Pool, h *fakeHost) {
		h.noSentries.Store(true)
		a := shape("a", 1)
		a.Root.Kind = rootfs.Directory
		p.Keep(h.wanted(a))
		settle()
		take(t, p, a, Hot)
		settle()
		if n := h.sentries.Load(); n != 1 {
			t.Errorf("%d tries to boot an empty sandbox, want one", n)
		}
	})
	bubble(t, Options{Max: 1, WarmMax: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		p.Keep(h.wanted(a))
		settle()
		a.Root.Kind = rootfs.Directory // a different image
		take(t, p, a, Cold)
		if n := p.Stats().WarmWaiting; n != 1 {
			t.Error("a directory root has used up an empty sandbox")
		}
	})
}

func TestBootsWaitInLine(t *testing.T) {
	bubble(t, Options{Max: 1, Boots: 2}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		start := time.Now()
		var all sync.WaitGroup
		var waited, took [5]time.Duration
		for i := range 5 {
			all.Go(func() {
				got, err := p.Take(t.Context(), a)
				if err != nil {
					t.Error(err)
					return
				}
				waited[i], took[i] = got.Begun.Sub(start), time.Since(got.Begun)
				_ = got.Destroy(t.Context())
			})
			synctest.Wait()
		}
		all.Wait()
		const boot = 100 * time.Millisecond
		if want := [5]time.Duration{0, 0, boot, boot, 2 * boot}; waited != want {
			t.Errorf("waited %v, want %v", waited, want)
		}
		if want := [5]time.Duration{boot, boot, boot, boot, boot}; took != want {
			t.Errorf("took %v, want a boot each", took)
		}

		why := errors.New("enough")
		for range 2 {
			all.Go(func() { take(t, p, a, Cold) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		all.Go(func() {
			if _, err := p.Take(ctx, a); !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		cancel(why)
		all.Wait()
		take(t, p, a, Cold) // no place is taken
		if p.inside != 0 || len(p.waiters) != 0 {
			t.Errorf("%d inside, %d in the queue", p.inside, len(p.waiters))
		}
	})
}

func TestWhoWaitsInLineIsServedHot(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 1, Boots: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		a, b := shape("a", 1), shape("b", 1)
		p.Keep(h.wanted(a))
		settle()
		var all sync.WaitGroup
		take(t, p, a, Hot)
		time.Sleep(hotRun + 10*time.Millisecond) // its refill has begun
		all.Go(func() { take(t, p, b, Cold) })
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := p.Take(ctx, a); err == nil { // waits for the refill
				t.Error("taken")
			}
		})
		synctest.Wait()
		all.Go(func() { take(t, p, a, Hot) }) // queued behind b
		synctest.Wait()
		cancel() // no job waits for the refill any more
		all.Wait()
	})
}

// Jobs of a wanted shape get sandboxes in order of arrival, within the limit of concurrent boots.
func TestJobsInLineGetWhatComesFirst(t *testing.T) {
	bubble(t, Options{Max: 1, Boots: 2}, func(t *testing.T, p *Pool, h *fakeHost) {
		a := shape("a", 1)
		p.Keep(h.wanted(a))
		settle()
		start := time.Now()
		var all sync.WaitGroup
		var begun, came [6]time.Duration
		for i := range 6 {
			all.Go(func() {
				got, err := p.Take(t.Context(), a)
				if err != nil || got.Tier != Cold {
					t.Errorf("%+v, %v", got, err)
					return
				}
				begun[i], came[i] = got.Begun.Sub(start), time.Since(start)
				_ = got.Destroy(t.Context())
			})
			synctest.Wait()
		}
		if n, ahead := h.boots.Load(), h.background.Load(); n != 2 || ahead != 0 {
			t.Errorf("%d boots, of them %d with a low weight; want 2 and none", n, ahead)
		}
		all.Wait()
		const boot = 100 * time.Millisecond
		if want := [6]time.Duration{0, 0, boot, boot, 2 * boot, 2 * boot}; begun != want {
			t.Errorf("the turns came at %v, want %v", begun, want)
		}
		if want := [6]time.Duration{boot, boot, 2 * boot, 2 * boot, 3 * boot, 3 * boot}; came != want {
			t.Errorf("the sandboxes came at %v, want %v", came, want)
		}
	})
}

// Neither dropping a shape nor closing the pool leaves a job in the queue.
func TestNobodyIsForgottenInLine(t *testing.T) {
	for name, end := range map[string]func(p *Pool){
		"not wanted": func(p *Pool) { p.Keep(nil) },
		"closed":     func(p *Pool) { go func() { _ = p.Close(context.Background()) }() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Max: 1, Boots: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
				a, b := shape("a", 1), shape("b", 1)
				p.Keep(h.wanted(a, b))
				settle()
				var all sync.WaitGroup
				for _, s := range []sandbox.Shape{a, a, b, b} {
					all.Go(func() { take(t, p, s, Cold) })
				}
				synctest.Wait()
				end(p)
				all.Wait()
			})
		})
	}
}

func TestBootsThatFailArePutOff(t *testing.T) {
	bubble(t, Options{Min: 1, Max: 1, WarmMax: 1}, func(t *testing.T, p *Pool, h *fakeHost) {
		h.broken.Store(func(sandbox.Shape) error { return errors.New("no") })
		p.Keep(h.wanted(shape("a", 1)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := h.boots.Load() + h.sentries.Load(); n < 4 || n > 40 {
			t.Errorf("%d boots in ten minutes", n)
		}
		h.broken.Store(func(sandbox.Shape) error { return nil })
		p.Keep(h.wanted(shape("a", 1))) // Keep resets the pause after failures
		synctest.Wait()
		time.Sleep(time.Second)
		take(t, p, shape("a", 1), Hot)
	})
}

func TestNew(t *testing.T) {
	for _, o := range []Options{{}, {Host: &fakeHost{}, Min: -1}, {Host: &fakeHost{}, Min: 2, Max: 1},
		{Host: &fakeHost{}, WarmMax: -1}} {
		if p, err := New(o); err == nil {
			t.Errorf("%+v: %v", o, p)
		}
	}
}

// TestStress runs takers, deaths and changes of shapes and room concurrently. No sandbox may be
// handed out twice or dead, and none may be left.
func TestStress(t *testing.T) {
	h := &fakeHost{took: time.Millisecond}
	p, err := New(Options{Host: h, Min: 2, Max: 6, WarmMax: 3, Every: 3 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p.SetRoom(1 << 40)
	shapes := []sandbox.Shape{shape("a", 1), shape("b", 1), shape("c", 2)}
	p.Keep(h.wanted(shapes...))
	stop := make(chan struct{})
	var meddlers, takers sync.WaitGroup
	meddle := func(f func()) {
		meddlers.Add(1)
		go func() {
			defer meddlers.Done()
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(rand.IntN(5)) * time.Millisecond):
					f()
				}
			}
		}()
	}
	meddle(func() { p.Keep(h.wanted(shapes[rand.IntN(3):]...)) })
	meddle(func() { p.SetRoom(int64(rand.IntN(5)) * 40 << 20) })
	meddle(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.all); n > 0 {
			h.all[n-1-rand.IntN(min(n, 8))].dead.Store(true)
		}
	})
	for i := range 16 {
		takers.Add(1)
		go func() {
			defer takers.Done()
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+rand.IntN(20))*time.Millisecond)
				s := shapes[(i+n)%3]
				got, err := p.Take(ctx, s)
				cancel()
				if err != nil {
					continue
				}
				b := got.Sandbox.(*fakeSandbox)
				if b.given.Add(1) != 1 || b.gone.Load() || b.shape.Key() != s.Key() {
					t.Error("given twice, after it was destroyed, or of another shape")
				}
				if err := got.Destroy(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	takers.Wait()
	close(stop)
	meddlers.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, l := h.alive.Load(), h.leases.Load(); a != 0 || l != 0 || p.held != 0 {
		t.Errorf("%d sandboxes, %d leases and %d bytes are left", a, l, p.held)
	}
}

func TestDemandIsPure(t *testing.T) {
	now := time.Unix(0, 0)
	var d demand
	if n := d.want(now, 1, 8); n != 1 {
		t.Errorf("nobody has come: %d", n)
	}
	for range 200 { // ten per second
		now = now.Add(100 * time.Millisecond)
		d.arrived(now)
	}
	d.booted(200 * time.Millisecond)
	if n := d.want(now, 1, 100); n < 5 || n > 8 { // 2 arrivals during a boot plus 3 deviations of 1.4
		t.Errorf("under load: %d", n)
	}
	if n := d.want(now, 1, 3); n != 3 {
		t.Errorf("over the most: %d", n)
	}
	if n := d.want(now.Add(time.Hour), 1, 8); n != 1 {
		t.Errorf("an hour later: %d", n)
	}
}
