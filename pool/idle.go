package pool

import (
	"context"
	"time"
)

// idle is what waits of one shape. It is under the pool's mutex.
type idle struct {
	wanted  Wanted
	demand  demand
	waiting []*item // the newest last, and taken first
	booting int
	hurry   chan struct{} // of those that boot for nobody: closed when somebody waits for them
	dropped bool          // not wanted any more

	size     int64 // bytes of the last one, 0: none yet
	failures int
	retry    time.Time // no boot before
}

type item struct {
	sandbox Sandbox
	bytes   int64
	release func()
}

const (
	// guess is what a sandbox is taken to hold before one of its shape was seen, in bytes.
	guess = 48 << 20
	// maxBackoff is the longest pause after boots that failed.
	maxBackoff = time.Minute
	// bootBound bounds a boot for nobody; clean one clean-up.
	bootBound = time.Minute
	cleanup   = 30 * time.Second
)

// pop takes the newest that still waits, and throws away what does not.
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

// discard throws the newest away.
func (p *Pool) discard(s *idle) {
	last := len(s.waiting) - 1
	it := s.waiting[last]
	s.waiting = s.waiting[:last]
	p.held -= it.bytes
	p.clean(it.sandbox, it.release)
}

// discardDead throws away those that died while they waited.
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

// clean destroys on a goroutine that Close waits for.
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
		return // the lease stays: something of the sandbox may still use its root
	}
	if release != nil {
		release()
	}
}

// bootFor begins a boot of s for the jobs that wait.
func (p *Pool) bootFor(s *idle) {
	tier := Cold
	sentry := p.sentryFor(s.wanted.Shape)
	if sentry != nil {
		tier = Warm
	}
	p.launch(s, tier, sentry, 0)
}

// launch begins one boot of s, from a sentry if there is one, with so many bytes held; nobody waits
// for it when its tier is to be hot.
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

// hurryOne signals one of the boots of s for nobody that it is waited for, unless all have the
// signal or there are others.
func (p *Pool) hurryOne(s *idle) {
	if s.hurry != nil && s.booting > p.waitFor(s) {
		close(s.hurry)
		s.hurry = nil // the next boots are in no hurry
	}
}

// boot makes one sandbox of s and gives it to the first who waits for one, or keeps it idle. It
// runs on a goroutine of its own.
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

// failed puts off the next boot of s, and has those who wait for it boot for themselves.
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
