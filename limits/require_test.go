package limits

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// require skips unless ok; where TSUBO_REQUIRE names the word, it fails instead.
func require(t *testing.T, word string, ok bool) {
	t.Helper()
	if ok {
		return
	}
	if required(word) {
		t.Fatalf("%s is required here and missing", word)
	}
	t.Skipf("needs %s", word)
}

func required(word string) bool {
	return slices.Contains(strings.Split(os.Getenv("TSUBO_REQUIRE"), ","), word)
}

// requireCgroup2 is for tests that make cgroups: root on a host that can enforce, and only where they are asked for by name, since
// they make cgroups at the top of the hierarchy.
func requireCgroup2(t *testing.T) {
	t.Helper()
	require(t, "cgroup2", os.Geteuid() == 0 && required("cgroup2") && len(Probe("").Missing()) == 0)
}
