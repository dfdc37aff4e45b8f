package daemon

import (
	"cmp"
	"context"
	"slices"

	"github.com/tsubo-run/tsubo/rootfs"
)

// readAhead reads the existing images into the page cache, smallest first. Otherwise, after a
// reboot, their pages would be charged to the first jobs that touch them ([rootfs.Root.ReadAhead]).
// It runs in the background until it is done or the daemon is closed. Images imported later are
// cached already.
func (d *Daemon) readAhead(ctx context.Context, roots *rootfs.Store) {
	var all []rootfs.Root
	for _, key := range roots.Keys() {
		if root, err := roots.Lookup(key); err == nil {
			all = append(all, root)
		}
	}
	slices.SortFunc(all, func(a, b rootfs.Root) int { return cmp.Compare(a.Size, b.Size) })
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	d.undo.push(func() error { cancel(); <-done; return nil })
	go func() {
		defer close(done)
		// Beyond a quarter of the budget, reading an image would only evict another.
		for left := d.cfg.MemoryBudget / 4; len(all) > 0 && all[0].Size <= left && ctx.Err() == nil; all = all[1:] {
			left -= all[0].Size
			if err := all[0].ReadAhead(ctx); err != nil && ctx.Err() == nil {
				// The image may have been removed meanwhile.
				d.log.Warn("read an image ahead", "root", all[0].Key, "error", err)
			}
		}
	}()
}
