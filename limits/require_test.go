package limits

import (
	"os"
	"testing"

	"github.com/tsubo-run/tsubo/tests/need"
)

// requireCgroup2 is for tests that make cgroups: root on a host that can enforce, and only where
// they are asked for by name, since they make cgroups at the top of the hierarchy.
func requireCgroup2(t *testing.T) {
	t.Helper()
	need.That(t, "cgroup2", os.Geteuid() == 0 && need.Promised("cgroup2") && len(Probe("").Missing()) == 0)
}
