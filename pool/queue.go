package pool

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// queue holds the jobs that wait for a boot and counts the jobs that boot for themselves. The
// pool's mutex guards it.
type queue struct {
	waiters []*waiter
	inside  int
}

// waiter is a job with no idle sandbox. It gets the next sandbox of its shape to become ready, or
// boots its own if its shape is not pooled.
type waiter struct {
	idle  *idle       // nil means that the job boots for itself
	turn  chan *Taken // capacity 1; nil means that the job may boot
	begun time.Time   // when fewer than Boots waiters were ahead
}

// wait queues w until a sandbox is ready or the job may boot for itself. In the second case the
// result is nil and the caller must call leave. p.mu must be held; wait releases it.
func (p *Pool) wait(ctx context.Context, w *waiter) (*Taken, error) {
	p.waiters = append(p.waiters, w)
	p.move()
	p.mu.Unlock()
	select {
	case t := <-w.turn:
		return t, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.move()
	}
	p.mu.Unlock()
	if i < 0 { // its turn came in the meantime
		return <-w.turn, nil // the next use of the sandbox reports ctx's error
	}
	return nil, fmt.Errorf("wait for a boot: %w", context.Cause(ctx))
}

// move updates the queue after any change: it admits jobs that boot for themselves and starts boots
// for the others. p.mu must be held.
func (p *Pool) move() {
	now := time.Now()
	for i := 0; i < len(p.waiters); {
		w := p.waiters[i]
		if w.begun.IsZero() && i < p.opt.Boots {
			w.begun = now
		}
		if w.idle == nil && p.free(p.inside) {
			w.begun = now
			p.waiters = slices.Delete(p.waiters, i, i+1)
			p.inside++
			w.turn <- nil
			continue
		}
		i++
	}
	if p.closed {
		return
	}
	asked := map[*idle]int{}
	for _, w := range p.waiters {
		if w.idle == nil {
			continue
		}
		if asked[w.idle]++; asked[w.idle] > w.idle.booting && p.free(p.booting) {
			p.bootFor(w.idle)
		}
	}
}

// free reports whether one more boot may start. ofKind is the number of running boots of its kind;
// each kind may always have one. p.mu must be held.
func (p *Pool) free(ofKind int) bool { return ofKind == 0 || p.inside+p.booting < p.opt.Boots }

// leave ends a job's own boot and lets the next boot start.
func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside--
	p.move()
}

// serve hands t to the first waiter for s and reports whether there was one. p.mu must be held.
func (p *Pool) serve(s *idle, t *Taken) bool {
	i := slices.IndexFunc(p.waiters, func(w *waiter) bool { return w.idle == s })
	if i < 0 {
		return false
	}
	w := p.waiters[i]
	p.waiters = slices.Delete(p.waiters, i, i+1)
	t.Begun = w.begun
	if t.Begun.IsZero() {
		t.Begun = time.Now()
	}
	p.count(t.Tier)
	w.turn <- t
	return true
}

// waitFor returns the number of jobs that wait for sandboxes of s. p.mu must be held.
func (p *Pool) waitFor(s *idle) int {
	n := 0
	for _, w := range p.waiters {
		if w.idle == s {
			n++
		}
	}
	return n
}

// disown makes waiters for s boot for themselves, except one for each running boot of s. p.mu must
// be held.
func (p *Pool) disown(s *idle) {
	n := 0
	for _, w := range p.waiters {
		if w.idle != s {
			continue
		}
		if n++; n > s.booting {
			w.idle = nil
		}
	}
}
