package pool

import (
	"runtime"
	"time"

	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

// loop looks at what waits now and then, and does what there is to do whenever it is woken.
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

// inspect throws away what must not be used any more.
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

// refill throws away what is too many and boots what is too few, a few at a time, and nothing while
// jobs wait for boots of their own on every CPU.
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

// hotRun is how long boots ahead leave the CPU to a hot job that begins: longer than the short ones
// take.
const hotRun = 25 * time.Millisecond

// hold puts the boot that replaces a taken sandbox off.
func (p *Pool) hold(now time.Time) {
	if now.Before(p.quiet) {
		return // a stream of jobs does not put it off for ever
	}
	p.quiet = now.Add(hotRun)
	time.AfterFunc(hotRun, p.nudge)
}

// calm is how many boots for nobody run at the same time as long as enough wait: they leave half of
// the machine to jobs.
var calm = max(1, runtime.NumCPU()/2)

// parallel is how many may: calm, and one for each CPU when of some shape less than half of what
// should waits.
func (p *Pool) parallel(now time.Time) int {
	for _, s := range p.idle {
		if want := s.demand.want(now, p.opt.Min, p.opt.Max); want > 1 && 2*len(s.waiting) < want {
			return max(calm, runtime.NumCPU())
		}
	}
	return calm
}

// giveWay throws one away: a sentry, else one of the shape that has most for what it needs.
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

// start begins one boot: of the shape that lacks most, else of a sentry. It reports false when
// there is nothing to boot, or no room.
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
		if len(neediest.waiting)+neediest.booting == 0 && neediest.wanted.Shape.Root.Kind == rootfs.EROFS { // the sooner one waits the better
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
