package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/sandbox"
)

// sentries is the warm tier. The pool's mutex guards it.
type sentries struct {
	waiting []warm
	sizes   []*asked
	warming int // running boots
	warmAt  time.Time
	flops   int
}

type warm struct {
	sentry Sentry
	size   sandbox.Size
	bytes  int64
}

// asked is the demand for a size among jobs that found no hot sandbox.
type asked struct {
	size   sandbox.Size
	demand demand
}

// maxSizes limits the number of sizes whose demand is tracked.
const maxSizes = 8

// plan registers the sizes of the wanted shapes before the first job asks. p.mu must be held.
func (p *Pool) plan(wanted []Wanted) {
	for _, w := range wanted {
		if size := sandbox.SizeOf(w.Shape.Limits); len(p.sizes) < maxSizes && p.asked(size) == nil {
			p.sizes = append(p.sizes, &asked{size: size})
		}
	}
}

func (p *Pool) asked(size sandbox.Size) *asked {
	if i := slices.IndexFunc(p.sizes, func(a *asked) bool { return a.size == size }); i >= 0 {
		return p.sizes[i]
	}
	return nil
}

// popSentry records the request and takes an idle sentry of the size, or returns nil. p.mu must be
// held.
func (p *Pool) popSentry(size sandbox.Size, now time.Time) Sentry {
	if p.opt.WarmMax == 0 {
		return nil
	}
	a := p.asked(size)
	if a == nil {
		a = &asked{size: size}
		if len(p.sizes) == maxSizes {
			p.sizes = slices.Delete(p.sizes, maxSizes-1, maxSizes)
		}
		p.sizes = append(p.sizes, a)
	}
	a.demand.arrived(now)
	p.rank(now)
	return p.findSentry(size)
}

// rank sorts sizes by demand, highest first. p.mu must be held.
func (p *Pool) rank(now time.Time) {
	for _, a := range p.sizes {
		a.demand.decay(now)
	}
	slices.SortStableFunc(p.sizes, func(a, b *asked) int { return cmp.Compare(b.demand.rate, a.demand.rate) })
}

// findSentry takes the newest live sentry of the size, or returns nil. p.mu must be held.
func (p *Pool) findSentry(size sandbox.Size) Sentry {
	for i := len(p.sentries.waiting) - 1; i >= 0; i-- {
		w := p.sentries.waiting[i]
		if w.size != size {
			continue
		}
		p.removeSentry(i)
		if err := w.sentry.Waiting(); err != nil {
			p.log.Warn("a waiting sentry has died", "error", err)
			p.clean(w.sentry, nil)
			continue
		}
		return w.sentry
	}
	return nil
}

func (p *Pool) removeSentry(i int) {
	p.held -= p.sentries.waiting[i].bytes
	p.sentries.waiting = slices.Delete(p.sentries.waiting, i, i+1)
}

// least returns the idle sentry with the lowest demand, and that demand. Sentries of the same size
// share their size's demand. At least one sentry must be idle. p.mu must be held.
func (p *Pool) least() (index int, rate float64) {
	for i, w := range p.sentries.waiting {
		r, same := 0.0, 0
		if a := p.asked(w.size); a != nil {
			r = a.demand.rate
		}
		for _, other := range p.sentries.waiting {
			if other.size == w.size {
				same++
			}
		}
		if r /= float64(same); i == 0 || r < rate {
			index, rate = i, r
		}
	}
	return index, rate
}

func (p *Pool) discardSentry() {
	i, _ := p.least()
	w := p.sentries.waiting[i]
	p.removeSentry(i)
	p.clean(w.sentry, nil)
}

// missing returns the size of the sentry to boot next. If all places are taken, the least wanted
// sentry is discarded for a size with more than 1.5 times its demand. A smaller factor would let
// two sizes displace each other in turn. p.mu must be held.
func (p *Pool) missing(now time.Time) (sandbox.Size, bool) {
	if p.opt.WarmMax == 0 || len(p.sizes) == 0 || p.warming > 0 {
		return sandbox.Size{}, false
	}
	p.rank(now)
	i := slices.IndexFunc(p.sizes, func(a *asked) bool {
		return !slices.ContainsFunc(p.sentries.waiting, func(w warm) bool { return w.size == a.size })
	})
	if len(p.sentries.waiting) < p.opt.WarmMax {
		return p.sizes[max(0, i)].size, true
	}
	if i < 0 {
		return sandbox.Size{}, false
	}
	if _, rate := p.least(); p.sizes[i].demand.rate <= 1.5*rate {
		return sandbox.Size{}, false
	}
	p.discardSentry()
	return p.sizes[i].size, true
}

// bootSentry boots one sentry on its own goroutine. The caller has already counted it in warming,
// booting and held.
func (p *Pool) bootSentry(size sandbox.Size, bytes int64) {
	defer p.work.Done()
	defer p.nudge()
	ctx, cancel := context.WithTimeout(p.ctx, bootBound)
	s, err := p.opt.Host.BootSentry(ctx, size)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.booting--
	p.warming--
	defer p.move()
	p.held -= bytes
	switch {
	case err != nil && p.ctx.Err() != nil:
	case errors.Is(err, sandbox.ErrNoSentry):
		p.opt.WarmMax = 0
		p.log.Warn("no empty sandboxes wait", "why", err)
	case err != nil:
		p.flops++
		pause := min(maxBackoff, time.Second<<min(p.flops-1, 10))
		p.warmAt = time.Now().Add(pause)
		p.log.Error("boot a sentry ahead", "failures", p.flops, "next", pause, "error", err)
	case p.closed:
		p.clean(s, nil)
	default:
		p.flops = 0
		w := warm{s, size, s.Footprint()}
		p.held += w.bytes
		p.sentries.waiting = append(p.sentries.waiting, w)
	}
}
