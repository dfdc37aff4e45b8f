package rootfs

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlock restricts the calling thread, and what it becomes, to: reading and running what the system's own directories and tool
// hold, reading work/tree, and writing below work/out. Where the kernel has no Landlock it does nothing: the user namespace, in
// which nothing of the host is the child's own, is then the only wall.
func landlock(work, tool int) error {
	const (
		read    = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
		execute = read | unix.LANDLOCK_ACCESS_FS_EXECUTE
		v1      = 1<<13 - 1
	)
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return nil
	}
	all := uint64(v1)
	if abi >= 2 {
		all |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		all |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: all}
	// Only the first field, so that every version of the call knows the size.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0) //nolint:gosec // landlock_create_ruleset(2)
	if errno != 0 {
		return fmt.Errorf("create ruleset: %w", errno)
	}
	ruleset := int(fd)        //nolint:gosec // a descriptor
	defer unix.Close(ruleset) //nolint:errcheck // nothing to lose
	add := func(parent int, access uint64) error {
		rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(parent)}                                                               //nolint:gosec // a descriptor
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0) //nolint:gosec // landlock_add_rule(2)
		if errno != 0 {
			return errno
		}
		return nil
	}
	paths := []struct {
		at       int
		path     string
		access   uint64
		optional bool
	}{
		{at: unix.AT_FDCWD, path: "/usr", access: execute},
		{at: unix.AT_FDCWD, path: "/lib", access: execute, optional: true},
		{at: unix.AT_FDCWD, path: "/lib64", access: execute, optional: true},
		{at: unix.AT_FDCWD, path: "/bin", access: execute, optional: true},
		{at: unix.AT_FDCWD, path: "/etc/ld.so.cache", access: unix.LANDLOCK_ACCESS_FS_READ_FILE, optional: true},
		{at: unix.AT_FDCWD, path: "/dev/null", access: unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, optional: true},
		{at: work, path: "tree", access: read},
		{at: work, path: "out", access: all &^ unix.LANDLOCK_ACCESS_FS_EXECUTE},
	}
	for _, p := range paths {
		fd, err := unix.Openat(p.at, p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) && p.optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", p.path, err)
		}
		err = add(fd, p.access)
		unix.Close(fd) //nolint:errcheck,gosec // O_PATH
		if err != nil {
			return fmt.Errorf("allow %s: %w", p.path, err)
		}
	}
	if err := add(tool, unix.LANDLOCK_ACCESS_FS_READ_FILE|unix.LANDLOCK_ACCESS_FS_EXECUTE); err != nil {
		return fmt.Errorf("allow mkfs.erofs: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("restrict: %w", errno)
	}
	return nil
}
