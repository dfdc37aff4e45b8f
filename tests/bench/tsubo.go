package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

// Tiers: how a sandbox came to its job.
const (
	cold = "cold"
	warm = "warm"
	hot  = "hot"
)

// settleBound is how long a one-client row waits at most for the machine to come to rest.
const settleBound = 5 * time.Second

// tsubo is jobs through the real socket, by the real client, over a connection that stays open.
// Each tier has a daemon of its own whose configuration has nothing else to offer.
type tsubo struct {
	tier   string
	daemon *tsubod.Daemon
	client *client.Client
	strict bool

	mu       sync.Mutex
	enforced *job.Enforced // of the first job
}

// request is the job of every row of tsubo.
var request = client.Request{Code: "pass"}

// versionRequest asks for the interpreter of the image.
var versionRequest = client.Request{Code: "import sys; sys.stdout.write(sys.version.split()[0])"}

func (t *tsubo) name() string { return "tsubo-" + t.tier }

func (t *tsubo) once(ctx context.Context) (sample, error) {
	before, err := t.daemon.CPU()
	if err != nil {
		return sample{}, err
	}
	s, err := t.load(ctx)
	if err != nil {
		return s, err
	}
	// The time to think: meanwhile the daemon clears away what is over and makes what is to wait.
	if err := t.settle(ctx); err != nil {
		return s, err
	}
	after, err := t.daemon.CPU()
	s.cpu = after - before
	return s, err
}

func (t *tsubo) load(ctx context.Context) (sample, error) {
	s, _, err := t.run(ctx, request)
	return s, err
}

// run does one job, and refuses one that did not succeed or that ran with less than it must.
func (t *tsubo) run(ctx context.Context, r client.Request) (sample, *job.ExecuteAnswer, error) {
	start := time.Now()
	answer, err := t.client.Execute(ctx, r)
	s := sample{took: time.Since(start), cpu: -1, leaf: -1}
	if err != nil {
		return s, nil, err
	}
	if answer.Status != job.Succeeded {
		return s, answer, fmt.Errorf("a job ended as %s: %s%s", answer.Status, answer.Stderr, text(answer.Error))
	}
	if err := t.check(answer.Enforced); err != nil {
		return s, answer, err
	}
	if answer.ResourceUsage.CPUTimeMS != nil && answer.Enforced.CPU {
		s.leaf = time.Duration(*answer.ResourceUsage.CPUTimeMS) * time.Millisecond
	}
	if answer.Timing.TotalMS != nil {
		s.inside = time.Duration(*answer.Timing.TotalMS) * time.Millisecond
	}
	s.tier = tierOf(answer)
	return s, answer, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// tierOf returns the tier that served a job, "" if the daemon does not report a tier.
func tierOf(answer *job.ExecuteAnswer) string { return text(answer.Timing.Sandbox) }

// check holds what was in force against what must be, and remembers the first.
func (t *tsubo) check(e job.Enforced) error {
	t.mu.Lock()
	if t.enforced == nil {
		t.enforced = &e
	}
	t.mu.Unlock()
	if off := lacking(e, t.strict); len(off) > 0 {
		return fmt.Errorf("this is no measurement of tsubo: not in force: %v (enforced: %+v)", off, e)
	}
	return nil
}

// lacking is what of a sandbox was off that must be on: in permissive mode only the cgroup leaf may
// be missing.
func lacking(e job.Enforced, strict bool) []string {
	var off []string
	must := func(what string, on bool) {
		if !on {
			off = append(off, what)
		}
	}
	must("runtime runsc", e.Runtime == "runsc")
	must("rootfs erofs", e.Rootfs == "erofs")
	must("read_only_root", e.ReadOnlyRoot)
	must("seccomp", e.Seccomp)
	must("network none", e.Network == "none")
	if strict {
		must("memory", e.Memory)
		must("swap", e.Swap)
		must("cpu", e.CPU)
		must("pids", e.PIDs)
		must("devices", e.Devices)
	}
	return off
}

// waiting is what the daemon reports that waits. One whose pool is off has nothing.
func (t *tsubo) waiting() (int, error) {
	p, err := t.pool(context.Background())
	return p.HotWaiting + p.WarmWaiting, err
}

// pool asks the daemon what waits in it.
func (t *tsubo) pool(ctx context.Context) (job.SandboxStats, error) {
	stats, err := t.client.PoolSandboxes(ctx)
	if err != nil {
		return job.SandboxStats{}, err
	}
	return *stats, nil
}

// ready returns once at least n of what the tier needs wait, nothing more is being made, and the
// machine is at rest; false after the bound. The daemon is asked seldom, because what its answers
// cost it is counted.
func (t *tsubo) ready(ctx context.Context, n int, bound time.Duration) (bool, error) {
	for deadline := time.Now().Add(bound); ; pause(ctx, 25*time.Millisecond) {
		if err := t.daemon.Settle(ctx, time.Until(deadline)); err != nil {
			return false, err
		}
		if t.tier == cold {
			return true, nil
		}
		p, err := t.pool(ctx)
		switch {
		case err != nil:
			return false, err
		case p.Booting == 0 && (t.tier == hot && p.HotWaiting >= n || t.tier == warm && p.WarmWaiting >= n):
			return true, nil
		case time.Now().After(deadline):
			return false, nil
		}
	}
}

// settle is ready for one job, if that comes to be within the bound.
func (t *tsubo) settle(ctx context.Context) error {
	_, err := t.ready(ctx, 1, settleBound)
	return err
}

func (t *tsubo) cpu() (time.Duration, bool) {
	used, err := t.daemon.CPU()
	return used, err == nil
}

// capture returns the config.json that the daemon writes for a job of the bench.
func (t *tsubo) capture(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	ended := make(chan error, 1)
	running, leave := context.WithCancel(ctx)
	defer func() {
		leave()
		for range ended { // until the job is over
		}
		cancel()
	}()
	go func() {
		_, err := t.client.Execute(running, client.Request{Code: "import time; time.sleep(60)"})
		ended <- err
		close(ended)
	}()
	for {
		files, _ := filepath.Glob(filepath.Join(t.daemon.RunDir, "sandboxes", "*", "config.json"))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && json.Valid(data) {
				return data, nil
			}
		}
		select {
		case err := <-ended:
			return nil, errors.Join(errors.New("a job that sleeps has ended before its config.json was found"), err)
		case <-ctx.Done():
			return nil, errors.New("no config.json of a running job")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
