package rootfs

import (
	"io/fs"
	"strconv"
	"syscall"
	"testing"

	erofs "github.com/erofs/go-erofs"
)

// attributes are an entry's attributes in the image or in the host's file system.
func attributes(t *testing.T, fi fs.FileInfo) (mode fs.FileMode, uid, gid uint32) {
	t.Helper()
	switch st := fi.Sys().(type) {
	case *erofs.Stat:
		return st.Mode, st.UID, st.GID
	case *syscall.Stat_t:
		return fi.Mode(), st.Uid, st.Gid
	}
	t.Fatalf("%T", fi.Sys())
	return 0, 0, 0
}

func mtime(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*erofs.Stat); ok {
		return int64(st.Mtime) //nolint:gosec // a test's own
	}
	return fi.ModTime().Unix()
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
