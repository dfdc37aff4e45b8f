package pool

import (
	"context"
	"fmt"
	"slices"
)

// line is the jobs that wait until they may boot, and those that do. It is under the pool's mutex.
type line struct {
	waiters []*waiter
	inside  int
}

type waiter struct {
	shelf *shelf      // nil: nothing hot can come of its shape
	turn  chan *Taken // holds one: nil says that it may boot
}

// turn waits in line until a boot may begin, which leave must end; or returns a hot sandbox that came in the meantime.
func (p *Pool) turn(ctx context.Context, s *shelf) (*Taken, error) {
	p.mu.Lock()
	if s != nil {
		if t := p.pop(s); t != nil { // it came while a promise was broken
			p.mu.Unlock()
			return t, nil
		}
	}
	if p.free() && len(p.waiters) == 0 {
		p.inside++
		p.mu.Unlock()
		return nil, nil
	}
	w := &waiter{shelf: s, turn: make(chan *Taken, 1)}
	p.waiters = append(p.waiters, w)
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
	}
	p.mu.Unlock()
	if i < 0 { // its turn came in this very moment
		return <-w.turn, nil // whoever uses it meets the end of ctx
	}
	return nil, fmt.Errorf("wait for a boot: %w", context.Cause(ctx))
}

// free says that one more boot may begin; at least one that a job waits for always may.
func (p *Pool) free() bool { return p.inside == 0 || p.inside+p.booting < p.opt.Boots }

// leave ends a boot and lets the next one begin.
func (p *Pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside--
	p.admit()
}

// admit lets those begin who are first in line, while they may.
func (p *Pool) admit() {
	for len(p.waiters) > 0 && p.free() {
		w := p.waiters[0]
		p.waiters = slices.Delete(p.waiters, 0, 1)
		p.inside++
		w.turn <- nil
	}
}

// serve gives t to the first in line who can use it.
func (p *Pool) serve(s *shelf, t *Taken) bool {
	i := slices.IndexFunc(p.waiters, func(w *waiter) bool { return w.shelf == s })
	if i < 0 {
		return false
	}
	w := p.waiters[i]
	p.waiters = slices.Delete(p.waiters, i, i+1)
	w.turn <- t
	return true
}
