package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// detachedMount copies the mount of f, with f as its root. The copy belongs to no namespace yet, so
// a child in its own namespaces can attach it without access to the path.
func detachedMount(f *os.File) (*os.File, error) {
	fd, err := unix.OpenTree(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return nil, configf("mounts cannot be copied (open_tree: %v): run tsubod as root with CAP_SYS_ADMIN on Linux 5.15 or later", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open_tree %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// systemDirs are the host directories that a dynamically linked mkfs.erofs needs. They are
// read-only in the child.
var systemDirs = []string{"usr", "lib", "lib32", "lib64", "bin"}

// mkfsRoot moves the calling process into a root that holds only the host's program directories
// (read-only), /mkfs.erofs, /tree (read-only) and /out. work and tool are detached mounts.
func mkfsRoot(work, tool int) error {
	// The new root can be mounted on any directory. /proc exists and is no longer needed.
	const root = "/proc"
	system := make(map[string]int)
	links := make(map[string]string)
	for _, name := range systemDirs {
		fi, err := os.Lstat("/" + name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("look at /%s: %w", name, err)
		case fi.Mode().Type() == fs.ModeSymlink:
			if links[name], err = os.Readlink("/" + name); err != nil {
				return fmt.Errorf("look at /%s: %w", name, err)
			}
		case fi.IsDir():
			if system[name], err = unix.OpenTree(unix.AT_FDCWD, "/"+name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE); err != nil {
				return fmt.Errorf("copy mount of /%s: %w", name, err)
			}
		}
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k,mode=0755"); err != nil {
		return fmt.Errorf("mount new root: %w", err)
	}
	for _, name := range sortedKeys(links) {
		if err := os.Symlink(links[name], filepath.Join(root, name)); err != nil {
			return fmt.Errorf("link /%s: %w", name, err)
		}
	}
	for _, name := range sortedKeys(system) {
		if err := attach(system[name], filepath.Join(root, name), true); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "mkfs.erofs"), nil, 0o600); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := attachTo(tool, filepath.Join(root, "mkfs.erofs"), true); err != nil {
		return err
	}

	all := filepath.Join(root, "work")
	if err := attach(work, all, false); err != nil {
		return err
	}
	for name, readOnly := range map[string]bool{"tree": true, "out": false} {
		fd, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(all, name), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("copy mount of %s: %w", name, err)
		}
		if err := attach(fd, filepath.Join(root, name), readOnly); err != nil {
			return err
		}
	}
	if err := unix.Unmount(all, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount work directory: %w", err)
	}
	if err := unix.Rmdir(all); err != nil {
		return fmt.Errorf("remove mount point: %w", err)
	}

	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	// With both at the same place, the old root is stacked on the new root and is then detached
	// (pivot_root(2), notes).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	return nil
}

// attach makes the directory at and attaches a detached mount there.
func attach(fd int, at string, readOnly bool) error {
	if err := os.Mkdir(at, 0o755); err != nil { //nolint:gosec // in a file tree of its own
		return fmt.Errorf("make mount point: %w", err)
	}
	return attachTo(fd, at, readOnly)
}

func attachTo(fd int, at string, readOnly bool) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach %s: %w", filepath.Base(at), err)
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("restrict mount of %s: %w", filepath.Base(at), err)
	}
	return unix.Close(fd)
}
