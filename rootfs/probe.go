package rootfs

import "context"

// Probe returns what Open would build roots with, as Store.Tool does, without a Store. mkfs is
// Options.MkfsErofs.
func Probe(ctx context.Context, mkfs string) (version string, kind Kind, why string) {
	t := findTool(ctx, mkfs)
	if t.file == nil {
		return t.version, Directory, t.why
	}
	_ = t.file.Close() // only read
	return t.version, EROFS, ""
}
