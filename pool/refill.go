package pool

import (
	"runtime"
	"time"

	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

// loop inspects idle sandboxes at each tick and refills the pool at each tick and wake-up.
func (p *Pool) loop() {
	defer close(p.done)
	tick := time.NewTicker(p.opt.Every)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			p.inspect()
		case <-p.wake:
		}
		p.refill()
	}
}

// inspect discards idle sandboxes that are dead or that Options.Check rejects.
func (p *Pool) inspect() {
	why := p.opt.Check()
	p.mu.Lock()
	defer p.mu.Unlock()
	if why != nil && p.waiting() > 0 {
		p.log.Error("nothing that waits may be used any more", "error", why)
	}
	for _, s := range p.idle {
		for why != nil && len(s.waiting) > 0 {
			p.discard(s)
		}
		p.discardDead(s)
	}
	for i := len(p.sentries.waiting) - 1; i >= 0; i-- {
		w := p.sentries.waiting[i]
		err := why
		if err == nil {
			if err = w.sentry.Waiting(); err == nil {
				continue
			}
			p.log.Warn("a waiting sentry has died", "error", err)
		}
		p.removeSentry(i)
		p.clean(w.sentry, nil)
	}
}

func (p *Pool) waiting() int {
	n := len(p.sentries.waiting)
	for _, s := range p.idle {
		n += len(s.waiting)
	}
	return n
}

// refill discards surplus sandboxes and starts missing boots, a few at a time. It starts no boot
// while more than calm jobs wait for boots or boot for themselves.
func (p *Pool) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := time.Now()
	for _, s := range p.idle {
		for len(s.waiting) > s.demand.want(now, p.opt.Min, p.opt.Max) {
			p.discard(s)
		}
	}
	for p.held > p.room && p.waiting() > 0 {
		p.giveWay(now)
	}
	for p.booting < p.parallel(now) && len(p.waiters)+p.inside <= calm && p.start(now) {
	}
}

// hotRun is the time for which background boots leave the CPU to a hot job that starts. It is
// longer than a short job's run.
const hotRun = 25 * time.Millisecond

// hold delays the boot that replaces a taken sandbox. p.mu must be held.
func (p *Pool) hold(now time.Time) {
	if now.Before(p.quiet) {
		return // a stream of jobs must not delay boots forever
	}
	p.quiet = now.Add(hotRun)
	time.AfterFunc(hotRun, p.nudge)
}

// calm limits concurrent background boots while enough sandboxes are idle. Half of the CPUs stay
// free for jobs.
var calm = max(1, runtime.NumCPU()/2)

// parallel returns the limit of concurrent background boots: calm, or the number of CPUs if a shape
// has less than half of the sandboxes it should have. p.mu must be held.
func (p *Pool) parallel(now time.Time) int {
	for _, s := range p.idle {
		if want := s.demand.want(now, p.opt.Min, p.opt.Max); want > 1 && 2*len(s.waiting) < want {
			return max(calm, runtime.NumCPU())
		}
	}
	return calm
}

// giveWay discards one idle sandbox: a sentry if there is one, otherwise a sandbox of the shape
// with the largest surplus. p.mu must be held.
func (p *Pool) giveWay(now time.Time) {
	if len(p.sentries.waiting) > 0 {
		p.discardSentry()
		return
	}
	var most *idle
	excess := 0
	for _, s := range p.idle {
		if n := len(s.waiting) - s.demand.want(now, 0, p.opt.Max); len(s.waiting) > 0 && (most == nil || n > excess) {
			most, excess = s, n
		}
	}
	p.discard(most)
}

// start starts one background boot, of the shape that lacks the most sandboxes or of a sentry. It
// reports false if there is nothing to boot or no room. p.mu must be held.
func (p *Pool) start(now time.Time) bool {
	if now.Before(p.quiet) {
		return false
	}
	var neediest *idle
	lack := 0
	for _, s := range p.idle {
		if now.Before(s.retry) {
			continue
		}
		n := s.demand.want(now, p.opt.Min, p.opt.Max) - len(s.waiting) - s.booting + p.waitFor(s)
		if n > lack {
			neediest, lack = s, n
		}
	}
	if neediest != nil {
		bytes := neediest.size
		if bytes == 0 {
			bytes = guess
		}
		if p.held+bytes > p.room {
			return false
		}
		var sentry Sentry
		// The first sandbox of a shape should be ready as soon as possible.
		if len(neediest.waiting)+neediest.booting == 0 && neediest.wanted.Shape.Root.Kind == rootfs.EROFS {
			sentry = p.findSentry(sandbox.SizeOf(neediest.wanted.Shape.Limits))
		}
		p.launch(neediest, Hot, sentry, bytes)
		return true
	}
	if now.Before(p.warmAt) || p.held+guess > p.room {
		return false
	}
	size, ok := p.missing(now)
	if !ok {
		return false
	}
	p.warming++
	p.booting++
	p.held += guess
	p.work.Add(1)
	go p.bootSentry(size, guess)
	return true
}
