package sandbox

import (
	"fmt"
	"os"
	"testing"
)

// On a host without memory the kernel must kill a sandbox before the daemon, however the sandbox
// was booted, and even while it waits without a job's container.
func TestOOMScoreInEveryTier(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	check := func(name string, s *Sandbox) {
		t.Helper()
		if len(s.pids) == 0 {
			t.Errorf("%s: no process", name)
		}
		for _, pid := range s.pids {
			if score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); err != nil ||
				string(score) != "500\n" {
				t.Errorf("%s: oom_score_adj %q, %v", name, score, err)
			}
		}
	}
	for name, by := range tiers {
		check(name, boot(t, by, h, shape))
	}
	sentry, err := h.BootSentry(t.Context(), SizeOf(shape.Limits))
	if err != nil {
		t.Fatal(err)
	}
	check("empty", sentry.box)
	if err := sentry.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}
