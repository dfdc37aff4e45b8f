package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

// Options of a Pool. Host is required.
type Options struct {
	Host Host
	// Min and Max bound how many hot sandboxes of one wanted shape wait.
	Min, Max int
	// WarmMax is how many empty sentries wait in all.
	WarmMax int
	// Boots is how many boots run at the same time, those ahead included, when jobs wait for
	// theirs; the others wait in the queue: one after the other each takes as long as its own boot
	// does, all at once each takes as long as all of them. 0: one for each CPU.
	Boots int
	// Check returns why whatever waits must not be used any more, nil while it may: runsc has
	// changed, for one. nil: it always may.
	Check func() error
	// Every is how often what waits is looked at; 0: a second.
	Every time.Duration
	Log   *slog.Logger // nil: none
}

// Wanted is a shape of which hot sandboxes are to wait.
type Wanted struct {
	Name  string // job type and image, for the log
	Shape sandbox.Shape
	// Lease holds the shape's root for one more sandbox until release is called.
	Lease func() (release func(), err error)
}

// Tier is how a sandbox came to a job.
type Tier string

// Tiers.
const (
	Hot  Tier = "hot"  // it was waiting, or booting for nobody
	Warm Tier = "warm" // added to an empty sentry that was waiting
	Cold Tier = "cold" // booted for the job
)

// Taken is a sandbox that belongs to whoever took it.
type Taken struct {
	Sandbox
	Tier    Tier
	Begun   time.Time // when the wait for others' boots was over, if there was one
	release func()
}

// Destroy is Sandbox.Destroy; after the first call that works, the pool's lease of the root is
// over, too. It is for one goroutine.
func (t *Taken) Destroy(ctx context.Context) error {
	err := t.Sandbox.Destroy(ctx)
	if err == nil && t.release != nil {
		t.release()
		t.release = nil
	}
	return err
}

// Stats is what waits now, and how jobs got their sandboxes since the start.
type Stats struct {
	HotWaiting, WarmWaiting, Booting int
	Hot, Warm, Cold                  uint64
	Bytes                            int64 // what waits is taken to hold
}

// ErrClosed is returned by Take after Close.
var ErrClosed = errors.New("the pool is closed")

// Pool is safe for concurrent use.
type Pool struct {
	opt  Options
	log  *slog.Logger
	wake chan struct{} // holds one note: there may be something to do
	quit chan struct{}
	done chan struct{} // closed when the loop has ended

	ctx    context.Context // of background boots
	cancel context.CancelFunc
	work   sync.WaitGroup // boots, clean-ups and Takes on their way

	mu     sync.Mutex
	closed bool
	idle   map[string]*idle // by Shape.Key; wanted shapes only
	sentries
	queue
	room    int64     // bytes that may wait
	held    int64     // bytes that wait or boot to wait
	booting int       // boots but for those that jobs do for themselves
	quiet   time.Time // no boots ahead before
	stats   Stats
}

// New starts a pool that keeps nothing until Keep and SetRoom are called. The caller closes it.
func New(o Options) (*Pool, error) {
	switch {
	case o.Host == nil:
		return nil, errors.New("pool: no host")
	case o.Min < 0 || o.Max < o.Min || o.WarmMax < 0:
		return nil, fmt.Errorf("pool: from %d to %d hot and up to %d warm: must be 0 or more, in this order", o.Min, o.Max, o.WarmMax)
	}
	if o.Check == nil {
		o.Check = func() error { return nil }
	}
	if o.Boots == 0 {
		o.Boots = runtime.NumCPU()
	}
	if o.Every == 0 {
		o.Every = time.Second
	}
	p := &Pool{
		opt: o, log: o.Log, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		idle: map[string]*idle{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.loop()
	return p, nil
}

// Keep sets which shapes are wanted from now on. What waits of another shape is thrown away; what
// is taken is nobody's business here.
func (p *Pool) Keep(wanted []Wanted) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := make(map[string]bool, len(wanted))
	for _, w := range wanted {
		key := w.Shape.Key()
		keep[key] = true
		if s := p.idle[key]; s != nil {
			s.wanted = w
			s.failures, s.retry = 0, time.Time{}
			continue
		}
		p.idle[key] = &idle{wanted: w}
	}
	for key, s := range p.idle {
		if !keep[key] {
			delete(p.idle, key)
			s.dropped = true
			for len(s.waiting) > 0 {
				p.discard(s)
			}
		}
	}
	p.plan(wanted)
	p.nudge()
}

// SetRoom sets how many bytes running jobs leave to what waits. It does not block.
func (p *Pool) SetRoom(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room = bytes
	if p.held > p.room {
		p.nudge()
	}
}

// Stats returns what waits.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	for _, i := range p.idle {
		s.HotWaiting += len(i.waiting)
	}
	s.WarmWaiting, s.Booting, s.Bytes = len(p.sentries.waiting), p.booting, p.held
	return s
}

// Take returns a sandbox of that shape: one that waits, else the first that comes of those that
// boot or are booted now, in the queue with other jobs, as soon as not more than Boots are at it;
// an empty sentry with the shape added comes sooner than a boot. The caller holds a lease of the
// shape's root until it has destroyed the sandbox. Errors are as those of sandbox.Host.Boot.
func (p *Pool) Take(ctx context.Context, shape sandbox.Shape) (*Taken, error) {
	key := shape.Key()
	now := time.Now()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	p.work.Add(1)
	defer p.work.Done()
	w := &waiter{turn: make(chan *Taken, 1)}
	if s := p.idle[key]; s != nil {
		s.demand.arrived(now)
		if t := p.pop(s); t != nil {
			p.hold(now)
			p.mu.Unlock()
			t.Begun = now
			return t, nil
		}
		if !now.Before(s.retry) {
			w.idle = s
			p.hurryOne(s)
		}
	}
	defer p.nudge()
	t, err := p.wait(ctx, w)
	if t != nil || err != nil {
		return t, err
	}
	if t, err = p.make(ctx, shape); err != nil {
		return nil, err
	}
	t.Begun = w.begun
	return t, nil
}

// make adds the shape to an empty sentry if one waits, or boots. It ends the turn, whatever
// happens.
func (p *Pool) make(ctx context.Context, shape sandbox.Shape) (*Taken, error) {
	defer p.leave()
	p.mu.Lock()
	sentry := p.sentryFor(shape)
	p.mu.Unlock()
	if sentry != nil {
		b, err := sentry.Add(ctx, shape)
		var image *sandbox.ImageError
		switch {
		case err == nil:
			return p.counted(&Taken{Sandbox: b, Tier: Warm}), nil
		case errors.As(err, &image) || ctx.Err() != nil:
			return nil, err
		}
		p.log.Warn("a waiting sentry was no good", "error", err)
	}
	b, err := p.opt.Host.Boot(ctx, shape)
	if err != nil {
		return nil, err
	}
	return p.counted(&Taken{Sandbox: b, Tier: Cold}), nil
}

// sentryFor takes an empty sentry for a job of that shape, nil when there is none.
func (p *Pool) sentryFor(shape sandbox.Shape) Sentry {
	if shape.Root.Kind != rootfs.EROFS {
		return nil
	}
	return p.popSentry(sandbox.SizeOf(shape.Limits), time.Now())
}

func (p *Pool) counted(t *Taken) *Taken {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(t.Tier)
	return t
}

// count keeps the books of how jobs got their sandboxes.
func (p *Pool) count(t Tier) {
	switch t {
	case Hot:
		p.stats.Hot++
	case Warm:
		p.stats.Warm++
	case Cold:
		p.stats.Cold++
	}
}

// Close throws away what waits and returns when nothing of the pool is left, or when ctx ends.
// Takes that are on their way are waited for; their sandboxes are their takers'. It is idempotent.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.quit)
		p.cancel()
		for _, s := range p.idle {
			s.dropped = true
			p.disown(s)
			for len(s.waiting) > 0 {
				p.discard(s)
			}
		}
		p.move()
		for len(p.sentries.waiting) > 0 {
			p.discardSentry()
		}
	}
	p.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		<-p.done
		p.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close the pool: %w", context.Cause(ctx))
	}
}

func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
