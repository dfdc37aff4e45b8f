package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Breaker
		is := func(state string, failures, successes int) {
			t.Helper()
			if s := b.State(); s.State != state || s.FailureCount != failures || s.SuccessCount != successes {
				t.Errorf("%+v, want %s %d %d", s, state, failures, successes)
			}
		}
		trial := func() *Permit {
			t.Helper()
			p := b.Allow()
			if p == nil {
				t.Fatal("no permit")
			}
			return p
		}
		is("closed", 0, 0)
		if b.State().LastFailure != nil {
			t.Error("a last failure before the first")
		}
		for range Failures - 1 {
			trial().Failed()
		}
		trial().Launched() // resets the consecutive count
		is("closed", 0, 0)
		early := trial()
		for range Failures - 1 {
			trial().Failed()
		}
		trial().Unknown()
		is("closed", Failures-1, 0)
		trial().Failed()
		is("open", Failures, 0)
		if l := b.State().LastFailure; l == nil || *l != job.Decimal(time.Now().Unix()) {
			t.Errorf("last failure %v", l)
		}
		time.Sleep(Pause - time.Nanosecond)
		if b.Allow() != nil {
			t.Fatal("a permit while open")
		}
		early.Launched() // an old permit does not count
		is("open", Failures, 0)
		time.Sleep(time.Nanosecond)
		is("half_open", Failures, 0)
		p := trial()
		if b.Allow() != nil {
			t.Error("two trials at once")
		}
		p.Unknown()
		p.Launched() // only the first report counts
		is("half_open", Failures, 0)
		p = trial()
		p.Launched()
		p.Unknown()
		is("half_open", Failures, 1)
		trial().Failed()
		is("open", Failures+1, 0)
		time.Sleep(Pause)
		for range Successes {
			trial().Launched()
		}
		is("closed", 0, 0)
	})
}

// TestGroup checks that one key's failures block only that key and appear in /health.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		if s := g.State(); s.State != "closed" || s.LastFailure != nil {
			t.Errorf("at first %+v", s)
		}
		for range Failures {
			g.Allow("bad").Failed()
		}
		g.Allow("good").Launched()
		if g.Allow("bad") != nil {
			t.Error("a permit for the key that fails")
		}
		if g.Allow("good") == nil || g.Allow("new") == nil {
			t.Error("no permit for another key")
		}
		if s := g.State(); s.State != "open" || s.FailureCount != Failures {
			t.Errorf("%+v, want the open one", s)
		}
		time.Sleep(Pause)
		if s := g.State(); s.State != "half_open" {
			t.Errorf("%+v", s)
		}
	})
}
