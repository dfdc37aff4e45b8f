package guesttest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Require skips the test when have is false, and fails it instead where the environment variable TSUBO_REQUIRE (a comma list) names
// what is missing.
func Require(t testing.TB, what string, have bool) {
	t.Helper()
	if have {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("TSUBO_REQUIRE"), ","), what) {
		t.Fatalf("%s is required here and missing", what)
	}
	t.Skipf("needs %s", what)
}

// Root requires uid 0.
func Root(t testing.TB) {
	t.Helper()
	Require(t, "root", os.Geteuid() == 0)
}

// Runsc requires root and the runsc binary, and returns its path: $TSUBO_RUNSC, or the first in PATH.
func Runsc(t testing.TB) string {
	t.Helper()
	Root(t)
	path := os.Getenv("TSUBO_RUNSC")
	if path == "" {
		path, _ = lookPath("runsc")
	}
	Require(t, "runsc", path != "")
	return path
}
