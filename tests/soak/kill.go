package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/procs"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

// The victim is known by its memory: it touches so much, and nothing else in the soak touches half
// of that.
const (
	victimBytes = 128 << 20
	victimCode  = "b = bytearray(128 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nimport time; time.sleep(100)"
)

// killed runs a job and kills its sandbox process by SIGKILL in the middle of it. One victim lives
// at a time.
func killed(ctx context.Context, s *soak) error {
	s.victim.Lock()
	defer s.victim.Unlock()
	type end struct {
		answer *job.ExecuteAnswer
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		a, err := s.client.Execute(ctx, client.Request{Code: victimCode})
		ended <- end{a, err}
	}()
	for hit := false; ; {
		select {
		case e := <-ended:
			if !hit {
				return s.judge(e.answer, e.err, job.Cancelled, nil) // never so: only an excuse helps
			}
			return s.judge(e.answer, e.err, job.Failed, nil)
		case <-time.After(50 * time.Millisecond):
		}
		if hit {
			continue
		}
		boxes, err := s.daemon.Sandboxes()
		if err != nil {
			return err
		}
		for _, box := range boxes {
			if memory(box) > victimBytes/2 {
				hit = true
				if err := kill(box); err != nil {
					return err
				}
			}
		}
	}
}

// idleKilled kills any sandbox: most of the time one that waits, else one that boots or has a job,
// which may then fail.
func idleKilled(ctx context.Context, s *soak) error {
	s.victim.Lock()
	boxes, err := s.daemon.Sandboxes()
	if err == nil && len(boxes) > 0 {
		s.excuses.Add(1)                         // before, so that the job that it hits finds it
		err = kill(boxes[rand.IntN(len(boxes))]) //nolint:gosec // any will do
	}
	s.victim.Unlock()
	if err != nil {
		return err
	}
	// One that works in between: launches that fail in a row would open the launch breaker.
	a, err := s.client.Execute(ctx, client.Request{Code: "pass"})
	return s.judge(a, err, job.Succeeded, nil)
}

// memory is the proportional set size of a sandbox.
func memory(box tsubod.Sandbox) (sum int64) {
	for _, p := range box.Tree {
		if n, err := procs.PSS(p.PID); err == nil { // else it has ended
			sum += n
		}
	}
	return sum
}

func kill(box tsubod.Sandbox) error {
	if err := syscall.Kill(box.Tree[0].PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill a sandbox process: %w", err)
	}
	return nil
}
