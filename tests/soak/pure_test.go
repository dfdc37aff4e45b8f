package main

import (
	"errors"
	"testing"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/hoststate"
)

// TestMix: every kind comes, about as often as its share asks, and the same jobs every time.
func TestMix(t *testing.T) {
	const n = 10_000
	of := map[string]int{}
	for i := range n {
		k := mix(i, true)
		of[k.name]++
		if again := mix(i, true); again.name != k.name {
			t.Fatalf("job %d is %s, and then %s", i, k.name, again.name)
		}
		if k := mix(i, false); k.enforced {
			t.Fatalf("job %d is %s where nothing is enforced", i, k.name)
		}
	}
	for _, k := range kinds {
		if want := n * k.share / total(); of[k.name] < want/2 || of[k.name] > 2*want {
			t.Errorf("%d are %s, want about %d", of[k.name], k.name, want)
		}
	}
	seen := map[string]bool{} // what happens once at all happens before the first count, too
	for i := range warmup {
		seen[mix(i, true).name] = true
	}
	for _, k := range kinds {
		if !seen[k.name] {
			t.Errorf("no %s in the warm-up", k.name)
		}
	}
}

func TestJudge(t *testing.T) {
	good, bad := &job.ExecuteAnswer{Status: job.Succeeded}, &job.ExecuteAnswer{Status: job.Failed}
	var s soak
	if err := s.judge(good, nil, job.Succeeded, nil); err != nil {
		t.Error(err)
	}
	for range 2 {
		if s.judge(bad, nil, job.Succeeded, nil) == nil || s.judge(nil, errors.New("refused"), job.Succeeded, nil) == nil ||
			s.judge(good, nil, job.Succeeded, func(*job.ExecuteAnswer) bool { return false }) == nil {
			t.Error("a job may end as it must not, without an excuse")
		}
	}
	s.excuses.Add(1)
	if err := s.judge(bad, nil, job.Succeeded, nil); err != nil {
		t.Errorf("with an excuse: %v", err)
	}
	if s.judge(bad, nil, job.Succeeded, nil) == nil || s.excused.Load() != 1 {
		t.Error("one excuse is good for two")
	}
}

func TestGoroutines(t *testing.T) {
	const dump = `SIGQUIT: quit
PC=0x1 m=0 sigcode=0

goroutine 0 gp=0x1 m=0 mp=0x2 [idle]:
x()

goroutine 1 gp=0xc000002380 m=nil [select, 2 minutes]:
goroutine text that is none
goroutine 17 [chan receive]:
rax    0x0
`
	if n := goroutines(dump); n != 3 {
		t.Errorf("%d goroutines", n)
	}
	if n := goroutines("nothing"); n != 0 {
		t.Errorf("%d goroutines of nothing", n)
	}
}

func TestGrown(t *testing.T) {
	before := counts{State: hoststate.State{Processes: 3}, Files: 5, RSS: 30 << 20, Goroutines: 20}
	if g := grown(before, before); len(g) > 0 {
		t.Errorf("the same has grown: %v", g)
	}
	for name, change := range map[string]func(*counts){
		"processes": func(c *counts) { c.Processes++ }, "leaves": func(c *counts) { c.Leaves++ }, "namespaces": func(c *counts) { c.Namespaces++ },
		"mounts": func(c *counts) { c.Mounts++ }, "runsc files": func(c *counts) { c.RunscFiles++ }, "bundles": func(c *counts) { c.Bundles++ },
		"files": func(c *counts) { c.Files++ }, "goroutines": func(c *counts) { c.Goroutines += slackGoroutines + 1 },
		"RSS": func(c *counts) { c.RSS += slackRSS + 1 }, "descriptors": func(c *counts) { c.FDs += slackFDs + 1 },
	} {
		after := before
		change(&after)
		if g := grown(before, after); len(g) != 1 {
			t.Errorf("%s: %v", name, g)
		}
	}
}
