package daemon

import (
	"cmp"
	"context"
	"slices"

	"github.com/tsubo-run/tsubo/rootfs"
)

// readAhead reads the images that are there at the start, the smallest first, so that after a
// reboot they are not charged to the jobs that touch them first (rootfs.Root.ReadAhead). It goes on
// in the background until they are read or the daemon is closed. Those that come later have just
// been written.
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
		// Beyond that part of the memory, reading one would only push another out.
		for left := d.cfg.MemoryBudget / 4; len(all) > 0 && all[0].Size <= left && ctx.Err() == nil; all = all[1:] {
			left -= all[0].Size
			if err := all[0].ReadAhead(ctx); err != nil && ctx.Err() == nil {
				d.log.Warn("read an image ahead", "root", all[0].Key, "error", err) // its removal, at most
			}
		}
	}()
}
