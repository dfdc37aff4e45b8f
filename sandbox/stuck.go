package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// errStuck is the cause when a boot is given up for another try.
var errStuck = errors.New("the boot is stuck")

const (
	// stuckAfter is how long a first try may take at most, and stuckShare the part of what is left until ctx ends that it may. A boot takes a
	// tenth of a second, under emulation and load up to ten; once in some thousand there, one said nothing for two minutes.
	stuckAfter = 40 * time.Second
	stuckShare = 3
	// stuckLeast is what a first try has at least, else there is no second one.
	stuckLeast = 10 * time.Second
)

// patience is how long a first boot may take before it is given up; 0: until ctx ends. An operator's preload takes what it takes.
func (h *Host) patience(ctx context.Context, shape Shape) time.Duration {
	if len(shape.Preload) > 0 {
		return 0
	}
	if h.stuckAfter > 0 {
		return h.stuckAfter
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
		s.host.Log.Warn("a boot is stuck: it is given up, and tried once more", "sandbox", s.id, "after", patience, "processes", s.whereabouts())
		cancel(errStuck)
	})
	return watched, func() {
		timer.Stop()
		cancel(nil)
	}
}

// whereabouts is where in the kernel each thread of the sandbox, its gofer and the command that boots them waits, for the log.
func (s *Sandbox) whereabouts() string {
	pids, err := s.host.Runsc.Processes(s.dir)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/task", pid)
		threads, _ := os.ReadDir(dir) // one that has ended is nowhere
		places := map[string]int{}
		for _, t := range threads {
			at, err := os.ReadFile(dir + "/" + t.Name() + "/wchan")
			if err == nil {
				places[string(at)]++
			}
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		all = append(all, fmt.Sprintf("%d %s %v", pid, strings.TrimSpace(string(name)), places))
	}
	return strings.Join(all, "; ")
}
