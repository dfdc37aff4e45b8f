// Package need skips tests that need what a machine lacks, and fails them where it has been promised.
package need

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// That skips the test when what it needs is not there, and fails it instead where TSUBO_REQUIRE promises it.
func That(t testing.TB, what string, there bool) {
	t.Helper()
	switch {
	case there:
	case Promised(what):
		t.Fatalf("%s is required here and missing", what)
	default:
		t.Skipf("needs %s", what)
	}
}

// Promised tells whether the environment variable TSUBO_REQUIRE, a comma list, names what.
func Promised(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("TSUBO_REQUIRE"), ","), what)
}

// Root needs uid 0.
func Root(t testing.TB) {
	t.Helper()
	That(t, "root", os.Geteuid() == 0)
}
