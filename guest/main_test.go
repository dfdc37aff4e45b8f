package guest_test

import (
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
	"github.com/tsubo-run/tsubo/tests/need"
)

func TestMain(m *testing.M) { guesttest.Main(m) }

// here runs f only in namespaces of this kernel, because it tests init's own logic, which no kernel
// changes, and a boot of runsc is slow.
func here(t *testing.T, f func(t *testing.T, o guesttest.Options)) {
	t.Helper()
	need.Root(t)
	f(t, guesttest.Options{})
}

// kernels runs f once in namespaces of this kernel and once under runsc.
func kernels(t *testing.T, f func(t *testing.T, o guesttest.Options)) {
	t.Helper()
	t.Run("native", func(t *testing.T) { need.Root(t); f(t, guesttest.Options{}) })
	t.Run("runsc", func(t *testing.T) { f(t, guesttest.Options{Runsc: need.Runsc(t)}) })
}
