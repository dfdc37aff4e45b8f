package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	erofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

// verify compares out/root.erofs with its source tree. It runs in the child, chrooted and without
// write access. It uses its own reader and so trusts neither mkfs.erofs nor a kernel.
func verify() (a answer, err error) {
	defer func() {
		// The image is as hostile as its source.
		if v := recover(); v != nil {
			a, err = answer{}, fmt.Errorf("image cannot be read: %v", v)
		}
	}()
	img, err := os.OpenFile("/out/root.erofs", os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return answer{}, fmt.Errorf("open image: %w", err)
	}
	defer img.Close() //nolint:errcheck // only read
	fi, err := img.Stat()
	if err != nil {
		return answer{}, fmt.Errorf("stat image: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return answer{}, errors.New("image is not a regular file")
	}
	fsys, err := erofs.Open(img)
	if err != nil {
		return answer{}, fmt.Errorf("read image: %w", err)
	}
	v := &verifier{img: img, size: fi.Size(), fsys: fsys, left: make([]byte, 256<<10), right: make([]byte, 256<<10)}
	if err := v.entry("."); err != nil {
		return answer{}, err
	}
	if err := v.dir("."); err != nil {
		return answer{}, err
	}
	return answer{OK: true, Entries: v.entries, Bytes: v.bytes}, nil
}

type verifier struct {
	img         *os.File
	size        int64
	fsys        fs.FS
	entries     int
	bytes       int64
	left, right []byte
}

// differ returns an error about the image's entry name.
func differ(name, format string, args ...any) error {
	return fmt.Errorf("image differs from the unpacked tree at %q: %s", name, fmt.Sprintf(format, args...))
}

// dir compares the names in a directory, each entry, and everything below. It terminates even for
// an image with loops, because it descends only where the tree has a directory.
func (v *verifier) dir(dir string) error {
	want, err := os.ReadDir(path.Join(treeDir, dir))
	if err != nil {
		return fmt.Errorf("read directory %q of the tree: %w", dir, err)
	}
	got, err := fs.ReadDir(v.fsys, dir)
	if err != nil {
		return differ(dir, "%v", err)
	}
	slices.SortFunc(got, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if len(got) != len(want) {
		return differ(dir, "%d entries, expected %d", len(got), len(want))
	}
	for i, w := range want { // os.ReadDir sorts
		name := path.Join(dir, w.Name())
		if got[i].Name() != w.Name() {
			return differ(name, "missing")
		}
		if got[i].Type() != w.Type() {
			return differ(name, "listed as %v, expected %v", got[i].Type(), w.Type())
		}
		if err := v.entry(name); err != nil {
			return err
		}
		if w.IsDir() {
			if err := v.dir(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) entry(name string) error {
	v.entries++
	var want unix.Stat_t
	real := path.Join(treeDir, name)
	if err := unix.Lstat(real, &want); err != nil {
		return fmt.Errorf("stat %q of the tree: %w", name, err)
	}
	fi, err := fs.Lstat(v.fsys, name)
	if err != nil {
		return differ(name, "%v", err)
	}
	got, ok := fi.Sys().(*erofs.Stat)
	if !ok {
		return differ(name, "no attributes")
	}
	mode := unixMode(got.Mode)
	switch {
	case mode != want.Mode:
		return differ(name, "mode %o, expected %o", mode, want.Mode)
	case want.Mode&(unix.S_ISUID|unix.S_ISGID) != 0:
		return differ(name, "mode %o has setuid or setgid", mode)
	case got.UID != want.Uid || got.GID != want.Gid:
		return differ(name, "owner %d:%d, expected %d:%d", got.UID, got.GID, want.Uid, want.Gid)
	case int64(got.Mtime) != want.Mtim.Sec || int64(got.MtimeNs) != want.Mtim.Nsec: //nolint:gosec // compared, not used
		return differ(name, "time %d.%09d, expected %d.%09d", got.Mtime, got.MtimeNs, want.Mtim.Sec, want.Mtim.Nsec)
	case len(got.Xattrs) != 0:
		return differ(name, "has extended attributes")
	}
	switch want.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return nil
	case unix.S_IFLNK:
		return v.link(name, real)
	case unix.S_IFREG:
		return v.file(name, real, want.Size, got, fi)
	}
	return differ(name, "mode %o is of no allowed type", want.Mode)
}

func (v *verifier) link(name, real string) error {
	want, err := os.Readlink(real)
	if err != nil {
		return fmt.Errorf("read link %q of the tree: %w", name, err)
	}
	got, err := fs.ReadLink(v.fsys, name)
	if err != nil {
		return differ(name, "%v", err)
	}
	if got != want {
		return differ(name, "another link target")
	}
	return nil
}

// file compares content. The data must be contiguous in the image, as -Enoinline_data promises:
// runsc cannot execute a file with an inline tail.
func (v *verifier) file(name, real string, size int64, got *erofs.Stat, fi fs.FileInfo) error {
	if got.Size != size {
		return differ(name, "%d bytes, expected %d", got.Size, size)
	}
	if size == 0 {
		return nil
	}
	ranges, ok := fi.(interface{ DataRange() []erofs.DataRange })
	if !ok || got.InodeLayout != 0 {
		return differ(name, "data layout %d is not flat", got.InodeLayout)
	}
	r := ranges.DataRange()
	if len(r) != 1 || r[0].Device != 0 || r[0].Size != size || r[0].Offset <= 0 || r[0].Offset > v.size-size {
		return differ(name, "data lies outside of the image")
	}
	f, err := os.OpenFile(real, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("open %q of the tree: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // only read
	v.bytes += size
	image := io.NewSectionReader(v.img, r[0].Offset, size)
	for left := size; left > 0; {
		n := min(left, int64(len(v.left)))
		if _, err := io.ReadFull(f, v.left[:n]); err != nil {
			return fmt.Errorf("read %q of the tree: %w", name, err)
		}
		if _, err := io.ReadFull(image, v.right[:n]); err != nil {
			return differ(name, "%v", err)
		}
		if !bytes.Equal(v.left[:n], v.right[:n]) {
			return differ(name, "another content")
		}
		left -= n
	}
	return nil
}

// unixMode converts m to the mode of stat(2).
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	switch m.Type() {
	case 0:
		mode |= unix.S_IFREG
	case fs.ModeDir:
		mode |= unix.S_IFDIR
	case fs.ModeSymlink:
		mode |= unix.S_IFLNK
	}
	if m&fs.ModeSetuid != 0 {
		mode |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		mode |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	return mode
}
