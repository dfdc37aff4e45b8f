package daemon

import (
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/limits"
)

// Strict mode says everything that is missing at once, one line for each thing.
func TestRefuseNamesEveryMissingThing(t *testing.T) {
	cfg := &config.Config{SecurityMode: config.Strict, RunscPath: "/nowhere/runsc", InitPath: "/nowhere/tsubo-init"}
	err := refuse(cfg, []limits.Missing{{What: "cgroup v2 controller memory", Fix: "boot with it"}, {What: "cgroup v2 controller pids", Fix: "boot with it"}})
	if err == nil {
		t.Fatal("nothing was refused")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4:\n%v", len(lines), err)
	}
	for i, part := range []string{"controller memory: boot with it", "controller pids: boot with it", "field runsc_path", "field init_path"} {
		if !strings.Contains(lines[i], part) {
			t.Errorf("line %q does not say %q", lines[i], part)
		}
	}
}
