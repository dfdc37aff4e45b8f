package guest

import (
	"errors"
	"syscall"
	"unsafe"
)

// Numbers that package syscall does not have.
const (
	sysPidfdOpen  = 434 // these are the same on every architecture
	sysCloseRange = 436

	closeRangeCloexec = 4

	prSetDumpable   = 4
	prCapbsetDrop   = 24
	prSetNoNewPrivs = 38
	prCapAmbient    = 47
	ambientClearAll = 4

	fionread = 0x541b
	sigBlock = 0 // of rt_sigprocmask

	wAll = 0x40000000 // __WALL: children of every kind, whatever signal their end sends

	pollIn  = 0x1
	pollOut = 0x4
	pollErr = 0x8
	pollHup = 0x10
)

type pollFD struct {
	fd      int32
	events  int16
	revents int16
}

// noSignals is the mask of poll: whatever is blocked outside of it comes in it.
var noSignals uint64

// poll is ppoll(2); forever when ms is negative. A signal ends it early with no event, also one that is blocked outside of it.
func poll(fds []pollFD, ms int) error {
	var ts *syscall.Timespec
	if ms >= 0 {
		t := syscall.NsecToTimespec(int64(ms) * 1e6)
		ts = &t
	}
	var p unsafe.Pointer
	if len(fds) > 0 {
		p = unsafe.Pointer(&fds[0]) //nolint:gosec // the kernel reads and writes these by address
	}
	for i := range fds {
		fds[i].revents = 0
	}
	//nolint:gosec // the kernel reads and writes these by address
	_, _, e := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(p), uintptr(len(fds)), uintptr(unsafe.Pointer(ts)), uintptr(unsafe.Pointer(&noSignals)), unsafe.Sizeof(noSignals), 0)
	if e != 0 && e != syscall.EINTR {
		return e
	}
	return nil
}

// prctl acts on the calling thread where the option is one of a thread's.
func prctl(option, arg2, arg3 uintptr) error {
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, arg3, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// pidfdOpen gives a descriptor that polls readable once pid has ended.
func pidfdOpen(pid int) (int, error) {
	fd, _, e := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

// closeOnExecFrom marks every descriptor from first on.
func closeOnExecFrom(first uintptr) error {
	if _, _, e := syscall.Syscall(sysCloseRange, first, 1<<31-1, closeRangeCloexec); e != 0 {
		return e
	}
	return nil
}

// ignoreSignal sets the disposition behind the runtime's back, so that the signal does not even wake a thread. A started process gets the default
// disposition back: fork-exec resets every signal that the runtime handles.
func ignoreSignal(sig syscall.Signal) error {
	// struct sigaction of the kernel: handler, flags, restorer, mask on amd64; handler, flags, mask on arm64. SIG_IGN needs the first only.
	act := [4]uintptr{1}
	//nolint:gosec // the kernel reads and writes these by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// blockSignal keeps the signal pending, but for what poll lets in. A child that is started later inherits that.
func blockSignal(sig syscall.Signal) error {
	set := uint64(1) << (sig - 1)
	//nolint:gosec // the kernel reads it by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigBlock, uintptr(unsafe.Pointer(&set)), 0, unsafe.Sizeof(set), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// monotonicMS is the monotonic clock in milliseconds. The kernel never refuses CLOCK_MONOTONIC.
func monotonicMS() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	//nolint:gosec // the kernel writes it by address
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano() / 1e6
}

// again reports whether a call is worth repeating at once.
func again(err error) bool { return errors.Is(err, syscall.EINTR) }

// readFD is read(2), repeated when a signal came first.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !again(err) {
			return max(n, 0), err
		}
	}
}

// writeAll is write(2) until all of p is gone; fd must be blocking.
func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := syscall.Write(fd, p)
		if again(err) {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// closeFD closes what is open and makes a second close harmless.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = syscall.Close(*fd) // nothing is buffered in a descriptor of ours, and the number is gone either way
		*fd = -1
	}
}

// readable is how many bytes a read of the pipe would give now.
func readable(fd int) (int, error) {
	var n int32
	//nolint:gosec // the kernel writes it by address
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), fionread, uintptr(unsafe.Pointer(&n))); e != 0 {
		return 0, e
	}
	return int(n), nil
}

// isDir reports whether path names a directory.
func isDir(path string) bool {
	var st syscall.Stat_t
	return syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR
}

// isExecutable reports whether path names a regular file that has an execute bit.
func isExecutable(path string) bool {
	var st syscall.Stat_t
	return syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG && st.Mode&0o111 != 0
}
