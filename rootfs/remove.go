package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeTree removes dir and everything in it. It follows nothing, and depth costs it neither
// descriptors nor stack, because each directory met is first moved up beside the others. No error
// if dir is not there.
func removeTree(dir string) error {
	top, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_RDONLY, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP):
		return os.Remove(dir) //nolint:gosec // below the state directory
	case err != nil:
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(top) //nolint:errcheck // only read

	r := remover{top: top}
	if err := r.empty(top, false); err != nil {
		return fmt.Errorf("empty %s: %w", dir, err)
	}
	for len(r.queue) > 0 {
		name := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		fd, err := unix.Openat(top, name, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("open directory in %s: %w", dir, err)
		}
		err = r.empty(fd, true)
		unix.Close(fd) //nolint:errcheck,gosec // only read
		if err != nil {
			return fmt.Errorf("empty directory in %s: %w", dir, err)
		}
		if err := unix.Unlinkat(top, name, unix.AT_REMOVEDIR); err != nil {
			return fmt.Errorf("remove directory in %s: %w", dir, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { //nolint:gosec // below the state directory
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

type remover struct {
	top   int
	queue []string // directories of top that are left to be removed
	moved int
}

// empty unlinks what is in fd; directories go to the queue, moved to the top first unless they are
// there.
func (r *remover) empty(fd int, move bool) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate descriptor: %w", err)
	}
	d := os.NewFile(uintptr(dup), "directory")
	defer d.Close() //nolint:errcheck // only read
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			uerr := unix.Unlinkat(fd, name, 0)
			if uerr == nil || errors.Is(uerr, unix.ENOENT) {
				continue
			}
			if !errors.Is(uerr, unix.EISDIR) && !errors.Is(uerr, unix.EPERM) {
				return fmt.Errorf("unlink %q: %w", name, uerr)
			}
			if move {
				to, err := r.moveUp(fd, name)
				if err != nil {
					return err
				}
				name = to
			}
			r.queue = append(r.queue, name)
		}
		if errors.Is(err, io.EOF) || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
	}
}

// moveUp gives the directory a name of its own in the top directory.
func (r *remover) moveUp(fd int, name string) (string, error) {
	for {
		r.moved++
		to := ".removing-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(fd, name, r.top, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("move %q: %w", name, err)
		}
		return to, nil
	}
}
