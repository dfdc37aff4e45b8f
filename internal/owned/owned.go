// Package owned reports whether a path is in the hands of root alone, so that nobody else can
// replace what the daemon finds there.
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

// ErrOthers reports a path that somebody besides root, or besides the user of this process, could
// replace.
var ErrOthers = errors.New("is not in the hands of root alone")

// Dir reports an error unless path and every directory above it belong to root or to the user of
// this process and are writable by their owner only. A sticky directory such as /tmp counts as
// writable. Links in path are resolved once; the directories are looked at by descriptor, none is
// followed. What does not exist is no error, since only their owner can make it.
func Dir(path string) error { return look(path, "/", unix.S_IFDIR) }

// File is Dir for a regular file.
func File(path string) error { return look(path, "/", unix.S_IFREG) }

// look is Dir or File, by the type that path must have; it looks at nothing above top.
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

// check looks at one opened path.
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
		return fmt.Errorf("%q %w: everybody can make names in it, mode %#o (name a path elsewhere)", path, ErrOthers, st.Mode&0o7777)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("%q %w: its mode is %#o (chmod go-w %s)", path, ErrOthers, st.Mode&0o7777, path)
	}
	return nil
}

// resolve resolves the links in as much of path as exists.
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
