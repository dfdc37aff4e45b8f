package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/guest/hook"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

// guestImage builds the root that every sandbox mounts at /.tsubo: tsubo-init and the hooks of
// waiting interpreters. The root is leased for the daemon's lifetime. Its key contains a digest of
// its content, so a new tsubo-init makes a new image. Images of earlier versions are removed.
func (d *Daemon) guestImage(ctx context.Context, cfg *config.Config, roots *rootfs.Store) (rootfs.Root, error) {
	init, err := os.ReadFile(cfg.InitPath)
	if err != nil {
		return rootfs.Root{}, fmt.Errorf("field init_path: %w: install tsubo-init there or name another place", err)
	}
	files := map[string]rootfs.GuestFile{"tsubo-init": {Mode: 0o755, Data: init}}
	for name, data := range hook.Files() {
		files[name] = rootfs.GuestFile{Mode: 0o444, Data: data}
	}
	root, err := d.keptRoot(ctx, roots, guestPrefix+digest(files), files)
	if err != nil {
		return rootfs.Root{}, fmt.Errorf("build the image of /.tsubo: %w", err)
	}
	for _, key := range roots.Keys() {
		if strings.HasPrefix(key, guestPrefix) && key != root.Key {
			if err := roots.Remove(key); err != nil {
				// A leftover only costs disk space.
				d.log.Warn("remove the image of /.tsubo of an earlier tsubo-init", "key", key, "error", err)
			}
		}
	}
	return root, nil
}

// guestPrefix is the prefix of the keys of /.tsubo images.
const guestPrefix = "guest:"

// emptyRoot builds the root of empty sandboxes. The root is leased for the daemon's lifetime.
func (d *Daemon) emptyRoot(ctx context.Context, roots *rootfs.Store) (rootfs.Root, error) {
	root, err := d.keptRoot(ctx, roots, sandbox.EmptyKey, sandbox.EmptyTree())
	if err != nil {
		return rootfs.Root{}, fmt.Errorf("build the root of empty sandboxes: %w", err)
	}
	return root, nil
}

// keptRoot builds a root, leases it for the daemon's lifetime and reads it into the page cache.
func (d *Daemon) keptRoot(ctx context.Context, roots *rootfs.Store, key string,
	files map[string]rootfs.GuestFile) (rootfs.Root, error) {
	root, err := roots.BuildTree(ctx, key, files)
	if err != nil {
		return rootfs.Root{}, err
	}
	lease, err := roots.Acquire(root.Key)
	if err != nil {
		return rootfs.Root{}, err
	}
	d.undo.push(func() error { lease.Release(); return nil })
	return lease.Root, lease.Root.ReadAhead(ctx)
}

func digest(files map[string]rootfs.GuestFile) string {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, name := range names {
		fmt.Fprintf(h, "%s %o %d\n", name, files[name].Mode, len(files[name].Data))
		h.Write(files[name].Data)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
