package guest

import (
	"errors"
	"syscall"
	"unsafe"
)

// Capabilities by number (linux/capability.h).
const (
	capDACReadSearch = 2
	capKill          = 5
	capLastOld       = 36 // the last one that every supported kernel knows
)

// shed gives away what init does not need, and what its children must not have: it is not dumpable, may gain nothing by an exec, and
// the bounding set of the calling thread, the only one that forks, is empty; so is its inheritable and its ambient set. The capabilities
// that init holds stay: the bounding set only counts at an exec, and init never execs.
func shed() error {
	if err := prctl(prSetDumpable, 0, 0); err != nil {
		return err
	}
	if err := prctl(prSetNoNewPrivs, 1, 0); err != nil {
		return err
	}
	for c := uintptr(0); c < 64; c++ {
		err := prctl(prCapbsetDrop, c, 0)
		if errors.Is(err, syscall.EINVAL) && c > capLastOld {
			break
		}
		if err != nil {
			return err
		}
	}
	// The ambient set is part of the inheritable one, and empty with it; a kernel without ambient capabilities has none to clear.
	if err := prctl(prCapAmbient, ambientClearAll, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return setCaps(func(effective, permitted uint64) (uint64, uint64) { return effective, permitted })
}

// keepOnly reduces the calling thread's capabilities to caps, those of them that it holds.
func keepOnly(caps ...uint) error {
	var mask uint64
	for _, c := range caps {
		mask |= 1 << c
	}
	return setCaps(func(effective, permitted uint64) (uint64, uint64) { return effective & mask, permitted & mask })
}

// setCaps changes the calling thread's effective and permitted set as f says, and empties the inheritable one.
func setCaps(f func(effective, permitted uint64) (uint64, uint64)) error {
	head := struct {
		version uint32
		pid     int32
	}{version: 0x20080522} // _LINUX_CAPABILITY_VERSION_3
	var data [2]struct{ effective, permitted, inheritable uint32 }
	if _, _, e := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data)), 0); e != 0 { //nolint:gosec // the kernel reads and writes these by address
		return e
	}
	eff, perm := f(uint64(data[1].effective)<<32|uint64(data[0].effective), uint64(data[1].permitted)<<32|uint64(data[0].permitted))
	for i := range data {
		data[i].effective, data[i].permitted, data[i].inheritable = uint32(eff>>(32*i)), uint32(perm>>(32*i)), 0
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data)), 0); e != 0 { //nolint:gosec // the kernel reads and writes these by address
		return e
	}
	return nil
}

// credential makes a child the job's user: real, effective and saved ids, and no supplementary group. Leaving uid 0 empties the
// permitted, effective and ambient sets, and with an empty bounding set nothing brings them back.
func credential(uid, gid uint32) *syscall.Credential {
	return &syscall.Credential{Uid: uid, Gid: gid, Groups: []uint32{}}
}
