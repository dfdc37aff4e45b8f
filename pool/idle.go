package pool

import (
	"context"
	"time"
)

// idle holds the idle sandboxes of a shape. The pool's mutex guards it.
type idle struct {
	wanted  Wanted
	demand  demand
	waiting []*item // newest last, taken first
	booting int
	hurry   chan struct{} // closed when a job waits for a background boot
	dropped bool          // no longer wanted

	size     int64 // bytes of the last sandbox; zero means none yet
	failures int
	retry    time.Time // no boot before this time
}

type item struct {
	sandbox Sandbox
	bytes   int64
	release func()
}

const (
	// guess is the assumed size of a sandbox, in bytes, before the first of its shape has booted.
	guess = 48 << 20
	// maxBackoff limits the pause after failed boots.
	maxBackoff = time.Minute
	// bootBound limits a background boot; cleanup limits the destruction of a sandbox.
	bootBound = time.Minute
	cleanup   = 30 * time.Second
)

// pop takes the newest live sandbox and discards dead ones. p.mu must be held.
func (p *Pool) pop(s *idle) *Taken {
	for len(s.waiting) > 0 {
		last := len(s.waiting) - 1
		if err := s.waiting[last].sandbox.Waiting(); err != nil {
			p.log.Warn("a waiting sandbox has died", "error", err)
			p.discard(s)
			continue
		}
		it := s.waiting[last]
		s.waiting = s.waiting[:last]
		p.held -= it.bytes
		p.stats.Hot++
		return &Taken{Sandbox: it.sandbox, Tier: Hot, release: it.release}
	}
	return nil
}

// discard discards the newest sandbox. p.mu must be held.
func (p *Pool) discard(s *idle) {
	last := len(s.waiting) - 1
	it := s.waiting[last]
	s.waiting = s.waiting[:last]
	p.held -= it.bytes
	p.clean(it.sandbox, it.release)
}

// discardDead discards sandboxes that died while idle. p.mu must be held.
func (p *Pool) discardDead(s *idle) {
	kept := s.waiting[:0]
	for _, it := range s.waiting {
		if err := it.sandbox.Waiting(); err != nil {
			p.log.Warn("a waiting sandbox has died", "error", err)
			p.held -= it.bytes
			p.clean(it.sandbox, it.release)
			continue
		}
		kept = append(kept, it)
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
}

type destroyer interface {
	Destroy(ctx context.Context) error
}

// clean destroys d on a goroutine that Close waits for.
func (p *Pool) clean(d destroyer, release func()) {
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		p.destroy(d, release)
	}()
}

func (p *Pool) destroy(d destroyer, release func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), cleanup)
	defer cancel()
	if err := d.Destroy(ctx); err != nil {
		p.log.Error("clean up a waiting sandbox", "error", err)
		return // keep the lease: the sandbox may still use its root
	}
	if release != nil {
		release()
	}
}

// bootFor starts a boot of s for waiting jobs. p.mu must be held.
func (p *Pool) bootFor(s *idle) {
	tier := Cold
	sentry := p.sentryFor(s.wanted.Shape)
	if sentry != nil {
		tier = Warm
	}
	p.launch(s, tier, sentry, 0)
}

// launch starts one boot of s, from sentry unless it is nil, with bytes counted as held. Tier Hot
// means a background boot, for which no job waits. p.mu must be held.
func (p *Pool) launch(s *idle, tier Tier, sentry Sentry, bytes int64) {
	s.booting++
	p.booting++
	p.held += bytes
	p.work.Add(1)
	w := s.wanted
	if tier == Hot {
		if s.hurry == nil {
			s.hurry = make(chan struct{})
		}
		w.Shape.Background, w.Shape.Hurry = true, s.hurry
	}
	go p.boot(s, w, tier, sentry, bytes)
}

// hurryOne gives one background boot of s foreground priority, unless all boots of s already have
// waiting jobs. p.mu must be held.
func (p *Pool) hurryOne(s *idle) {
	if s.hurry != nil && s.booting > p.waitFor(s) {
		close(s.hurry)
		s.hurry = nil // later boots begin in the background
	}
}

// boot boots one sandbox of s and hands it to the first waiter or keeps it idle. It runs on its own
// goroutine.
func (p *Pool) boot(s *idle, w Wanted, tier Tier, sentry Sentry, bytes int64) {
	defer p.work.Done()
	defer p.nudge()
	start := time.Now()
	b, release, err := p.ahead(w, sentry)
	var it *item
	if err == nil {
		it = &item{sandbox: b, bytes: b.Footprint(), release: release}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.booting--
	s.booting--
	p.held -= bytes
	defer p.move()
	if err != nil {
		p.failed(s, w.Name, err)
		return
	}
	s.demand.booted(time.Since(start))
	s.size, s.failures = it.bytes, 0
	switch {
	case p.serve(s, &Taken{Sandbox: b, Tier: tier, release: release}):
	case s.dropped || p.closed:
		p.clean(b, release)
	default:
		p.held += it.bytes
		s.waiting = append(s.waiting, it)
	}
}

func (p *Pool) ahead(w Wanted, sentry Sentry) (b Sandbox, release func(), err error) {
	release, err = w.Lease()
	if err != nil {
		if sentry != nil {
			p.clean(sentry, nil)
		}
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(p.ctx, bootBound)
	defer cancel()
	if sentry != nil {
		b, err = sentry.Add(ctx, w.Shape)
	} else {
		b, err = p.opt.Host.Boot(ctx, w.Shape)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return b, release, nil
}

// failed delays the next boot of s and makes its surplus waiters boot for themselves. p.mu must be
// held.
func (p *Pool) failed(s *idle, name string, err error) {
	p.disown(s)
	if p.ctx.Err() != nil {
		return
	}
	s.failures++
	pause := min(maxBackoff, time.Second<<min(s.failures-1, 10))
	s.retry = time.Now().Add(pause)
	p.log.Error("boot a sandbox ahead", "of", name, "failures", s.failures, "next", pause, "error", err)
}
