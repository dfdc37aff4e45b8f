package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/rootfs"
)

// imageMemory is memory.max, in bytes, of the leaf of a process that unpacks or writes an image. It
// covers the process's data ([rootfs.Limits]) and the page cache of files that it writes.
const imageMemory = 1536 * job.MiB

// imageLeaf returns a function that creates the leaf of a process that handles an image.
func imageLeaf(leaves *limits.Tree) func(context.Context) (*os.File, func() error, error) {
	return func(ctx context.Context) (*os.File, func() error, error) {
		id := make([]byte, 8)
		_, _ = rand.Read(id) // never fails (crypto/rand)
		leaf, err := leaves.Create(ctx, "image-"+hex.EncodeToString(id),
			limits.Boot{Memory: imageMemory, CPU: float64(runtime.NumCPU()), Tasks: 256, Background: true})
		if err != nil {
			return nil, nil, err
		}
		return leaf.Dir(), func() error { return leaf.Remove(context.Background()) }, nil
	}
}

func (d *Daemon) openImages(ctx context.Context, cfg *config.Config,
	leaves *limits.Tree) (*rootfs.Store, *images.Catalogue, error) {
	options := rootfs.Options{MkfsErofs: cfg.MkfsErofsPath, Logger: d.log}
	if leaves != nil {
		options.Leaf = imageLeaf(leaves)
	}
	var err error
	if options.IDBase, err = rootfs.FreeIDs("/etc"); err != nil {
		return nil, nil, err
	}
	roots, err := rootfs.Open(filepath.Join(cfg.DataDir, "rootfs"), options)
	if err != nil {
		return nil, nil, err
	}
	d.undo.push(roots.Close)
	if version, kind, why := roots.Tool(); kind != rootfs.EROFS {
		d.log.Warn("roots are directories, slower and served by a gofer process", "mkfs.erofs", version, "why", why)
	}
	catalogue, err := images.Open(filepath.Join(cfg.DataDir, "images"), roots, images.Options{Logger: d.log})
	return roots, catalogue, err
}
