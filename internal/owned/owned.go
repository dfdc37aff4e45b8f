// Package owned checks that only root can replace the files that the daemon trusts.
package owned

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOthers means that a user other than root and this process's user could replace a path.
var ErrOthers = errors.New("is not in the hands of root alone")

// Dir returns an error unless path and every directory above belong to root or to this process's
// user and are writable only by their owner. A sticky directory such as /tmp counts as writable.
//
// Links in path are resolved once; after that, directories are opened by descriptor and no link is
// followed. A missing path is no error, since only the owner of its parent can create it.
func Dir(path string) error { return look(path, "/", unix.S_IFDIR) }

// File does the same as [Dir] for a regular file.
func File(path string) error { return look(path, "/", unix.S_IFREG) }

// look implements [Dir] and [File]. kind is the required file type. Directories above top are not
// checked.
func look(path, top string, kind uint32) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q: the path must be absolute", path)
	}
	real, err := resolve(filepath.Clean(path))
	if err != nil {
		return err
	}
	rest, below := strings.CutPrefix(real, strings.TrimSuffix(top, "/")+"/")
	if !below && real != top {
		return fmt.Errorf("%q is not below %q", real, top)
	}
	fd, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", top, err)
	}
	defer func() { _ = unix.Close(fd) }() // O_PATH: nothing is written
	at := top
	names := slices.DeleteFunc(strings.Split(rest, "/"), func(s string) bool { return s == "" })
	for i := 0; ; i++ {
		want := uint32(unix.S_IFDIR)
		if i == len(names) {
			want = kind
		}
		if err := check(fd, at, want); err != nil {
			return err
		}
		if i == len(names) {
			return nil
		}
		next, err := unix.Openat(fd, names[i], unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		at = filepath.Join(at, names[i])
		if err != nil {
			return fmt.Errorf("open %q: %w", at, err)
		}
		_ = unix.Close(fd)
		fd = next
	}
}

// check checks the type, owner and mode of an opened path.
func check(fd int, path string, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != kind {
		want := "a directory"
		if kind == unix.S_IFREG {
			want = "a regular file"
		}
		return fmt.Errorf("%q is not %s", path, want)
	}
	if st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%q %w: it belongs to uid %d (chown root %s)", path, ErrOthers, st.Uid, path)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX != 0 {
		return fmt.Errorf("%q %w: everybody can make names in it, mode %#o (name a path elsewhere)", path, ErrOthers,
			st.Mode&0o7777)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("%q %w: its mode is %#o (chmod go-w %s)", path, ErrOthers, st.Mode&0o7777, path)
	}
	return nil
}

// resolve resolves links in the existing part of path.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) && path != "/" {
		if info, lerr := os.Lstat(path); lerr == nil && info.Mode()&os.ModeSymlink != 0 {
			return "", fmt.Errorf("%q is a link to nowhere: remove it", path)
		}
		dir, err := resolve(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	if err != nil {
		return "", fmt.Errorf("resolve %q: %w", path, err)
	}
	return real, nil
}
