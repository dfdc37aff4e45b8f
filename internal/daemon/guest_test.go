package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/need"
)

// TestGuestImageReplaces checks that the newest /.tsubo image and every other root stay.
func TestGuestImageReplaces(t *testing.T) {
	need.Root(t)
	dir, err := os.MkdirTemp("", "tsubo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // images are unpacked by another user
		t.Fatal(err)
	}
	init := filepath.Join(dir, "tsubo-init")
	for _, content := range []string{"one", "two", "two"} {
		if err := os.WriteFile(init, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		roots, err := rootfs.Open(filepath.Join(dir, "rootfs"), rootfs.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roots.BuildTree(t.Context(), canaryKey, canaryTree()); err != nil {
			t.Fatal(err)
		}
		d := &Daemon{log: quiet}
		root, err := d.guestImage(t.Context(), &config.Config{InitPath: init}, roots)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := roots.Keys(), []string{canaryKey, root.Key}; !slices.Equal(got, want) {
			t.Errorf("with %q there are %v, want %v", content, got, want)
		}
		if err := d.undo.run(); err != nil {
			t.Error(err)
		}
		if err := roots.Close(); err != nil {
			t.Error(err)
		}
	}
}
