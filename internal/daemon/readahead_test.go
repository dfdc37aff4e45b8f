package daemon

import (
	"crypto/rand"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/pagecache"
)

// TestReadAhead checks that after a start no page of the permanent roots, or of images that fit, is
// left to be charged to a job.
func TestReadAhead(t *testing.T) {
	need.Root(t)
	_, err := exec.LookPath("mkfs.erofs")
	need.That(t, "erofs", err == nil)
	roots, err := rootfs.Open(filepath.Join(pagecache.Dir(t), "rootfs"), rootfs.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = roots.Close() })
	build := func(key string, size int) string {
		data := make([]byte, size)
		_, _ = rand.Read(data)
		root, err := roots.BuildTree(t.Context(), key, map[string]rootfs.GuestFile{"f": {Mode: 0o444, Data: data}})
		if err != nil {
			t.Fatal(err)
		}
		pagecache.Evict(t, root.Path)
		return root.Path
	}
	whole := func(path string) bool { return pagecache.Pages(t, path) == pagecache.Size(t, path) }
	small, large, kept := build("small", 1<<20), build("large", 4<<20), build("kept", 2<<20)

	d := &Daemon{log: quiet, cfg: &config.Config{MemoryBudget: 16 << 20}}
	if _, err := d.keptRoot(t.Context(), roots, "kept", nil); err != nil {
		t.Fatal(err)
	}
	if !whole(kept) {
		t.Error("a root that is kept has not been read when it is given out")
	}
	d.readAhead(t.Context(), roots)
	for deadline := time.Now().Add(time.Minute); !whole(small); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an image is never read")
		}
	}
	if err := d.undo.run(); err != nil {
		t.Error(err)
	}
	if n := pagecache.Pages(t, large); n > 0 {
		t.Errorf("%d pages of an image that does not fit were read", n)
	}
}
