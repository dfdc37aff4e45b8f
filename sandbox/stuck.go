package sandbox

import (
	"context"
	"errors"
	"time"
)

// errStuck is the cause if a boot is abandoned for a retry.
var errStuck = errors.New("the boot is stuck")

const (
	// stuckAfter is the longest time of a first attempt, and stuckShare its divisor of the time
	// left until ctx ends. One emulated boot hung for two minutes; the cause is unknown.
	stuckAfter = 40 * time.Second
	stuckShare = 3
	// stuckLeast is the shortest time of a first attempt. If less is left, a boot is not retried.
	stuckLeast = 10 * time.Second
)

// patience returns how long a first boot may take before it is abandoned. Zero means until ctx
// ends. An operator's preload is never abandoned.
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

// watch cancels ctx with errStuck after patience and logs where the sandbox's processes are, unless
// stop is called before.
func (s *Sandbox) watch(ctx context.Context, patience time.Duration) (watched context.Context, stop func()) {
	if patience == 0 {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(patience, func() {
		s.host.Log.Warn(
			"boot is stuck; retrying once",
			"sandbox",
			s.id,
			"after",
			patience,
			"processes",
			s.host.Runsc.Whereabouts(s.dir),
		)
		cancel(errStuck)
	})
	return watched, func() {
		timer.Stop()
		cancel(nil)
	}
}
