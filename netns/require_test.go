package netns

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
	if slices.Contains(strings.Split(os.Getenv("TSUBO_REQUIRE"), ","), word) {
		t.Fatalf("%s is required here and missing", word)
	}
	t.Skipf("needs %s", word)
}

func requireRoot(t *testing.T) {
	t.Helper()
	require(t, "root", os.Geteuid() == 0)
}
