package sandbox

import (
	"context"
	"errors"
	"time"
)

// errStuck is the cause when a boot is given up for another try.
var errStuck = errors.New("the boot is stuck")

const (
	// stuckAfter is how long a first try may take at most, and stuckShare the part of what is left until ctx ends that it may. Once, under
	// emulation, a boot said nothing for two minutes.
	stuckAfter = 40 * time.Second
	stuckShare = 3
	// stuckLeast is what a first try has at least, else there is no second one.
	stuckLeast = 10 * time.Second
)

// patience is how long a first boot may take before it is given up; 0: until ctx ends. An operator's preload takes what it takes.
func patience(ctx context.Context, shape Shape) time.Duration {
	if len(shape.Preload) > 0 {
		return 0
	}
	end, ok := ctx.Deadline()
	if !ok {
		return stuckAfter
	}
	if part := time.Until(end) / stuckShare; part >= stuckLeast {
		return min(part, stuckAfter)
	}
	return 0
}

// watch ends ctx with errStuck after patience, having logged where the sandbox's processes are, unless stop is called before.
func (s *Sandbox) watch(ctx context.Context, patience time.Duration) (watched context.Context, stop func()) {
	if patience == 0 {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(patience, func() {
		s.host.Log.Warn("a boot is stuck: it is given up, and tried once more", "sandbox", s.id, "after", patience, "processes", s.host.Runsc.Whereabouts(s.dir))
		cancel(errStuck)
	})
	return watched, func() {
		timer.Stop()
		cancel(nil)
	}
}
