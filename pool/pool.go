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

// Options configures a [Pool]. Host is required.
type Options struct {
	Host Host
	// Min and Max limit the number of idle hot sandboxes per wanted shape.
	Min, Max int
	// WarmMax limits the number of idle empty sentries, over all sizes.
	WarmMax int
	// Boots limits concurrent boots while jobs wait, including background boots. More than one boot
	// per CPU makes every boot slower. Zero means runtime.NumCPU().
	Boots int
	// Check returns an error if idle sandboxes must no longer be used, for example because runsc
	// has changed. Nil means no check.
	Check func() error
	// Every is the interval between inspections of idle sandboxes. Zero means one second.
	Every time.Duration
	Log   *slog.Logger // nil means no log
}

// Wanted is a shape whose hot sandboxes the pool keeps idle.
type Wanted struct {
	Name  string // job type and image, for the log
	Shape sandbox.Shape
	// Lease leases the shape's root to a further sandbox until release is called.
	Lease func() (release func(), err error)
}

// Tier is the way in which a job got its sandbox.
type Tier string

// Tiers of a [Taken] sandbox.
const (
	Hot  Tier = "hot"  // idle, or from a background boot
	Warm Tier = "warm" // image added to an idle empty sentry
	Cold Tier = "cold" // booted for the job
)

// Taken is a sandbox that the taker owns.
type Taken struct {
	Sandbox
	Tier    Tier
	Begun   time.Time // when the wait for other jobs' boots ended
	release func()
}

// Destroy destroys the sandbox. The first successful call also releases the pool's lease of the
// root. It is not safe for concurrent use.
func (t *Taken) Destroy(ctx context.Context) error {
	err := t.Sandbox.Destroy(ctx)
	if err == nil && t.release != nil {
		t.release()
		t.release = nil
	}
	return err
}

// Stats counts the idle sandboxes now, and the sandboxes taken per tier since the start.
type Stats struct {
	HotWaiting, WarmWaiting, Booting int
	Hot, Warm, Cold                  uint64
	Bytes                            int64 // estimated size of idle sandboxes
}

// ErrClosed is returned by Take after Close.
var ErrClosed = errors.New("the pool is closed")

// Pool keeps idle sandboxes and hands them to jobs. It is safe for concurrent use.
type Pool struct {
	opt  Options
	log  *slog.Logger
	wake chan struct{} // wakes the loop; capacity 1
	quit chan struct{}
	done chan struct{} // closed when the loop has returned

	ctx    context.Context // of background boots
	cancel context.CancelFunc
	work   sync.WaitGroup // boots, clean-ups and running Takes

	mu     sync.Mutex
	closed bool
	idle   map[string]*idle // by Shape.Key; wanted shapes only
	sentries
	queue
	room    int64     // bytes that idle sandboxes may hold
	held    int64     // bytes of idle sandboxes and background boots
	booting int       // boots started by the pool, not by a job in make
	quiet   time.Time // no background boot before this time
	stats   Stats
}

// New starts a pool that stays empty until Keep and SetRoom are called. The caller must call Close.
func New(o Options) (*Pool, error) {
	switch {
	case o.Host == nil:
		return nil, errors.New("pool: no host")
	case o.Min < 0 || o.Max < o.Min || o.WarmMax < 0:
		return nil, fmt.Errorf("pool: from %d to %d hot and up to %d warm: must be 0 or more, in this order", o.Min,
			o.Max, o.WarmMax)
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

// Keep replaces the set of wanted shapes. Idle sandboxes of other shapes are discarded; taken
// sandboxes are unaffected.
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

// SetRoom sets the bytes that running jobs leave for idle sandboxes. It does not block.
func (p *Pool) SetRoom(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room = bytes
	if p.held > p.room {
		p.nudge()
	}
}

// Stats returns the pool's statistics.
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

// Take returns a sandbox of the shape. It prefers an idle sandbox, then a finishing boot of a
// wanted shape, then an idle empty sentry with the shape added, then a boot of its own. Waiting
// jobs queue in order, and at most Options.Boots of them boot at once. The caller must hold a lease
// of the shape's root until it has destroyed the sandbox. Errors are those of [sandbox.Host.Boot].
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

// make adds the shape to an idle empty sentry, or boots. It always ends the job's turn.
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

// sentryFor takes an idle empty sentry for the shape, or returns nil. p.mu must be held.
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

// count counts a sandbox taken from a tier. p.mu must be held.
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

// Close discards the idle sandboxes and waits until the pool's goroutines and running Takes have
// ended, or for ctx. Taken sandboxes stay with their takers. Close is idempotent.
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
