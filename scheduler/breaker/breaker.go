// Package breaker implements the circuit breaker for sandbox launches (wire.md 2.7). It opens after
// consecutive failures, allows one trial after a pause, and closes after consecutive successful
// trials.
package breaker

import (
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Thresholds of the wire contract.
const (
	Failures  = 5                // consecutive failures that open the breaker
	Pause     = 30 * time.Second // until one trial is allowed
	Successes = 2                // consecutive successful trials that close the breaker
)

// Breaker counts launches only: a failing program was launched successfully. The zero value is
// closed. A Breaker is safe for concurrent use.
type Breaker struct {
	mu        sync.Mutex
	open      bool
	since     time.Time // when the breaker opened or its last trial failed
	trial     bool      // a trial is running
	failures  int
	successes int
	last      time.Time // last failure
}

// Permit allows one launch. Only the first call of its methods counts.
type Permit struct {
	b     *Breaker
	trial bool
	used  bool
}

// Allow returns a [Permit] to launch once, or nil if no launch is allowed now.
func (b *Breaker) Allow() *Permit {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return &Permit{b: b}
	}
	if b.trial || time.Since(b.since) < Pause {
		return nil
	}
	b.trial = true
	return &Permit{b: b, trial: true}
}

// take reports whether this is the permit's first report. p.b.mu must be held.
func (p *Permit) take() bool {
	if p.used {
		return false
	}
	p.used = true
	if p.trial {
		p.b.trial = false
	}
	return true
}

// Launched reports that the launch succeeded.
func (p *Permit) Launched() {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !p.take():
	case !b.open:
		b.failures = 0
	case p.trial:
		if b.successes++; b.successes >= Successes {
			b.open, b.failures, b.successes = false, 0, 0
		}
	}
}

// Failed reports that the launch failed because of tsubo or the host.
func (p *Permit) Failed() {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if !p.take() {
		return
	}
	b.last = time.Now()
	switch {
	case p.trial:
		b.failures++
		b.since, b.successes = b.last, 0
	case !b.open:
		if b.failures++; b.failures >= Failures {
			b.open, b.since, b.successes = true, b.last, 0
		}
	}
}

// Unknown reports that the launch ended for another reason: cancelled, timed out, or a bad image.
func (p *Permit) Unknown() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.take()
}

// State returns the state that /health shows.
func (b *Breaker) State() job.Breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := job.Breaker{State: "closed", FailureCount: b.failures, SuccessCount: b.successes}
	if b.open {
		s.State = "open"
		if time.Since(b.since) >= Pause {
			s.State = "half_open"
		}
	}
	if !b.last.IsZero() {
		at := job.Seconds(b.last.UnixMilli())
		s.LastFailure = &at
	}
	return s
}

// Group has one [Breaker] per key, so that a bad image or job type blocks no other. The zero value
// is ready to use. A Group is safe for concurrent use. Keys are never removed, so there must be
// few.
type Group struct {
	mu    sync.Mutex
	byKey map[string]*Breaker
}

// Allow returns a [Permit] to launch key once, or nil if no launch is allowed now.
func (g *Group) Allow(key string) *Permit {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.byKey[key]
	if b == nil {
		if g.byKey == nil {
			g.byKey = map[string]*Breaker{}
		}
		b = &Breaker{}
		g.byKey[key] = b
	}
	return b.Allow()
}

// State returns the worst breaker's state: open before half-open before closed, then the breaker
// with the most failures.
func (g *Group) State() job.Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	rank := map[string]int{"closed": 0, "half_open": 1, "open": 2}
	worst := (&Breaker{}).State()
	for _, b := range g.byKey {
		s := b.State()
		if worst.LastFailure == nil || rank[s.State] > rank[worst.State] ||
			s.State == worst.State && s.FailureCount > worst.FailureCount {
			worst = s
		}
	}
	return worst
}
