// Package breaker keeps jobs from being launched where no launch works (wire.md 2.7): it opens
// after a row of failures, lets one trial through after a pause, and closes after a row of trials
// that worked.
package breaker

import (
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// The measures of the contract.
const (
	Failures  = 5                // in a row, and it opens
	Pause     = 30 * time.Second // until one launch may be tried again
	Successes = 2                // of such trials, and it closes
)

// Breaker is closed as its zero value. Only launches count: a program that fails was launched well.
// It is safe for concurrent use.
type Breaker struct {
	mu        sync.Mutex
	open      bool
	since     time.Time // it is open, or its last trial failed
	trial     bool      // one is under way
	failures  int
	successes int
	last      time.Time // failure
}

// Permit is the leave to launch once; exactly one of its methods counts, the first that is called.
type Permit struct {
	b     *Breaker
	trial bool
	used  bool
}

// Allow gives leave to launch, nil when there is none now.
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

// take reports whether the permit's word still counts.
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

// Launched reports that the launch worked.
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

// Failed reports that the launch did not work and that tsubo or the host was at fault.
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

// Unknown reports that the launch came to nothing for another reason: cancelled, timed out, an
// image that cannot run.
func (p *Permit) Unknown() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.take()
}

// State is what /health shows.
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

// Group is a breaker for each key, so that launches that fail for what one image or job type brings
// along refuse no other. Its zero value is ready; it is safe for concurrent use. Keys are never
// forgotten: they must be few.
type Group struct {
	mu    sync.Mutex
	byKey map[string]*Breaker
}

// Allow gives leave to launch once for key, nil when there is none now.
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

// State is the state of the breaker that is worst off: an open one before a half-open and a closed
// one, then the one with most failures.
func (g *Group) State() job.Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	rank := map[string]int{"closed": 0, "half_open": 1, "open": 2}
	worst := (&Breaker{}).State()
	for _, b := range g.byKey {
		s := b.State()
		if worst.LastFailure == nil || rank[s.State] > rank[worst.State] || s.State == worst.State && s.FailureCount > worst.FailureCount {
			worst = s
		}
	}
	return worst
}
