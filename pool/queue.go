package pool

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// queue is the jobs that wait for a boot, and how many boot for themselves. It is under the pool's
// mutex.
type queue struct {
	waiters []*waiter
	inside  int
}

// waiter is a job that found nothing that waits. Of a wanted shape it gets the first sandbox that
// is ready, whoever that was begun for; of any other it boots for itself when it may.
type waiter struct {
	idle  *idle       // nil: it boots for itself
	turn  chan *Taken // holds one: nil means that it may boot
	begun time.Time   // when fewer than Boots were before it
}

// wait stands in the queue until a sandbox comes, or the turn to boot for itself, which leave must
// end. The pool's mutex is held when it is called, and not when it returns.
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
	if i < 0 { // its turn came in this very moment
		return <-w.turn, nil // whoever uses it meets the end of ctx
	}
	return nil, fmt.Errorf("wait for a boot: %w", context.Cause(ctx))
}

// move looks at the queue whenever something has changed: whose turn it is, who may boot for
// itself, and what is to be booted for the others.
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

// free reports whether one more boot may begin; of those of a kind, of which so many are on their
// way, at least one always may.
func (p *Pool) free(ofKind int) bool { return ofKind == 0 || p.inside+p.booting < p.opt.Boots }

// leave ends a boot of a job's own and lets the next one begin.
func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside--
	p.move()
}

// serve gives t to the first in the queue who can use it.
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

// waitFor is how many jobs wait for sandboxes of s.
func (p *Pool) waitFor(s *idle) int {
	n := 0
	for _, w := range p.waiters {
		if w.idle == s {
			n++
		}
	}
	return n
}

// disown makes those who wait for s, but for as many as boots of it are on their way, boot for
// themselves.
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
