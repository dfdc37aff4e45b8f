package guesttest

import (
	"os"
	"testing"

	"github.com/tsubo-run/tsubo/tests/need"
)

// Runsc requires root and the runsc binary, and returns its path: $TSUBO_RUNSC, or the first in PATH.
func Runsc(t testing.TB) string {
	t.Helper()
	need.Root(t)
	path := os.Getenv("TSUBO_RUNSC")
	if path == "" {
		path, _ = lookPath("runsc")
	}
	need.That(t, "runsc", path != "")
	return path
}
