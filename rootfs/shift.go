package rootfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shiftTree takes a directory root out of the child's id range: an entry of base+n becomes one of
// n, as the sandbox's file server shows it. It runs as the host's root over a hostile tree when no
// process of that range is left, so nothing changes underneath; it still goes by descriptors,
// follows no link, and changes an entry only through the descriptor whose owner and type it looked
// at. A setuid or setgid bit, a device, or an owner out of the range stops it. An inode that two
// names share is met with an id below base the second time, which is left as it is (base is at
// least idRange, so the two ranges do not overlap).
func shiftTree(tree *os.File, base uint32, maxDepth int) error {
	if err := shiftOne(int(tree.Fd()), base, "."); err != nil {
		return err
	}
	return shiftDir(int(tree.Fd()), base, maxDepth, "")
}

func shiftDir(fd int, base uint32, depth int, at string) error {
	if depth < 0 {
		return tooMuchf("%q: too many directories deep", at)
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("duplicate descriptor: %w", err)
	}
	d := os.NewFile(uintptr(dup), "directory")
	names, err := d.Readdirnames(-1)
	d.Close() //nolint:errcheck,gosec // only read
	if err != nil {
		return fmt.Errorf("read directory %q: %w", at, err)
	}
	for _, name := range names {
		if err := shiftEntry(fd, name, base, depth, at+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

func shiftEntry(dir int, name string, base uint32, depth int, at string) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", at, err)
	}
	defer unix.Close(fd) //nolint:errcheck // O_PATH
	if err := shiftOne(fd, base, at); err != nil {
		return err
	}
	sub, err := unix.Openat(fd, ".", unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR { //nolint:errorlint // a bare errno
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory %q: %w", at, err)
	}
	defer unix.Close(sub) //nolint:errcheck // only read
	return shiftDir(sub, base, depth-1, at)
}

func shiftOne(fd int, base uint32, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %q: %w", at, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
	default:
		return invalidf("%q: mode %o is of no allowed type", at, st.Mode)
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return invalidf("%q: mode %o has setuid or setgid", at, st.Mode)
	}
	if st.Uid < idRange && st.Gid < idRange && st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil // another name of it was met before
	}
	if st.Uid < base || st.Uid-base >= idRange || st.Gid < base || st.Gid-base >= idRange {
		return fmt.Errorf("%q: owner %d:%d is not of the unpacker's range", at, st.Uid, st.Gid)
	}
	if err := unix.Fchownat(fd, "", int(st.Uid-base), int(st.Gid-base), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give %q to %d:%d: %w", at, st.Uid-base, st.Gid-base, err)
	}
	return nil
}
