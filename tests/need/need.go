// Package need skips tests that need what a machine lacks, and fails them where it has been
// promised.
package need

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// That skips the test when what it needs is not there, and fails it instead where TSUBO_REQUIRE
// promises it.
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

// Promised reports whether the environment variable TSUBO_REQUIRE, a comma list, names what.
func Promised(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("TSUBO_REQUIRE"), ","), what)
}

// Root needs uid 0.
func Root(t testing.TB) {
	t.Helper()
	That(t, "root", os.Geteuid() == 0)
}

// Runsc needs root and the real runsc, and returns its path: $TSUBO_RUNSC, or the first on PATH.
func Runsc(t testing.TB) string {
	t.Helper()
	Root(t)
	path := os.Getenv("TSUBO_RUNSC")
	if path == "" {
		path, _ = exec.LookPath("runsc")
	}
	That(t, "runsc", path != "")
	return path
}

// RootDir needs root and returns a temporary directory for what a tsubod trusts: nobody else can
// write to a directory above it.
func RootDir(t testing.TB) string {
	t.Helper()
	Root(t)
	dir, err := os.MkdirTemp("/run", "tsubo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
