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
	capLastOld       = 36 // the last capability that every supported kernel knows
)

// shed drops what init does not need and its children must not have. Init becomes non-dumpable and
// can gain nothing by an exec. The bounding, inheritable and ambient sets of the calling thread,
// the only thread that forks, become empty. Init keeps its own capabilities: the bounding set
// matters only at an exec, and init never execs.
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
	// The ambient set is a subset of the inheritable set and therefore empty, too. EINVAL means a
	// kernel without ambient capabilities.
	if err := prctl(prCapAmbient, ambientClearAll, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return setCaps(func(effective, permitted uint64) (uint64, uint64) { return effective, permitted })
}

// keepOnly drops all of the calling thread's capabilities except caps.
func keepOnly(caps ...uint) error {
	var mask uint64
	for _, c := range caps {
		mask |= 1 << c
	}
	return setCaps(func(effective, permitted uint64) (uint64, uint64) { return effective & mask, permitted & mask })
}

// setCaps sets the calling thread's effective and permitted sets to f's results, and empties the
// inheritable set.
func setCaps(f func(effective, permitted uint64) (uint64, uint64)) error {
	head := struct {
		version uint32
		pid     int32
	}{version: 0x20080522} // _LINUX_CAPABILITY_VERSION_3
	var data [2]struct{ effective, permitted, inheritable uint32 }
	//nolint:gosec // the kernel reads and writes these by address
	if _, _, e := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&head)),
		uintptr(unsafe.Pointer(&data)), 0); e != 0 {
		return e
	}
	eff, perm := f(uint64(data[1].effective)<<32|uint64(data[0].effective),
		uint64(data[1].permitted)<<32|uint64(data[0].permitted))
	for i := range data {
		data[i].effective, data[i].permitted, data[i].inheritable = uint32(eff>>(32*i)), uint32(perm>>(32*i)), 0
	}
	//nolint:gosec // the kernel reads and writes these by address
	if _, _, e := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&head)),
		uintptr(unsafe.Pointer(&data)), 0); e != 0 {
		return e
	}
	return nil
}

// credential returns the job's user: real, effective and saved ids, and no supplementary groups.
// Leaving uid 0 empties the permitted, effective and ambient sets, and with an empty bounding set
// they stay empty.
func credential(uid, gid uint32) *syscall.Credential {
	return &syscall.Credential{Uid: uid, Gid: gid, Groups: []uint32{}}
}
