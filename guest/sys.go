package guest

import (
	"errors"
	"syscall"
	"unsafe"
)

// Numbers that package syscall lacks.
const (
	sysPidfdOpen  = 434 // the same on every architecture, like sysCloseRange
	sysCloseRange = 436

	closeRangeCloexec = 4

	prSetDumpable   = 4
	prCapbsetDrop   = 24
	prSetNoNewPrivs = 38
	prCapAmbient    = 47
	ambientClearAll = 4

	fionread = 0x541b
	sigBlock = 0 // SIG_BLOCK

	wAll = 0x40000000 // __WALL: all children, whatever their exit signal

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

// noSignals is the signal mask of poll. Signals that are blocked elsewhere arrive during poll.
var noSignals uint64

// poll calls ppoll(2) and clears all revents first. A negative ms means no timeout. Any signal,
// even one that is blocked elsewhere, ends the call early without an event.
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
	_, _, e := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(p), uintptr(len(fds)), uintptr(unsafe.Pointer(ts)),
		uintptr(unsafe.Pointer(&noSignals)), unsafe.Sizeof(noSignals), 0)
	if e != 0 && e != syscall.EINTR {
		return e
	}
	return nil
}

// prctl calls prctl(2). Options that belong to a thread affect the calling thread.
func prctl(option, arg2, arg3 uintptr) error {
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, arg3, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// pidfdOpen returns a descriptor that becomes readable when pid exits.
func pidfdOpen(pid int) (int, error) {
	fd, _, e := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}

// closeOnExecFrom sets close-on-exec on every descriptor from first on.
func closeOnExecFrom(first uintptr) error {
	if _, _, e := syscall.Syscall(sysCloseRange, first, 1<<31-1, closeRangeCloexec); e != 0 {
		return e
	}
	return nil
}

// ignoreSignal ignores a signal without the runtime's knowledge, so that it does not even wake a
// thread. A started process gets the default disposition back: fork-exec resets every signal that
// the runtime handles.
func ignoreSignal(sig syscall.Signal) error {
	// The kernel's struct sigaction: handler, flags, restorer, mask on amd64; handler, flags, mask
	// on arm64. SIG_IGN needs only the first field.
	act := [4]uintptr{1}
	//nolint:gosec // the kernel reads and writes these by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// blockSignal blocks the signal outside of poll. Children that are started later inherit the mask.
func blockSignal(sig syscall.Signal) error {
	set := uint64(1) << (sig - 1)
	//nolint:gosec // the kernel reads it by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigBlock, uintptr(unsafe.Pointer(&set)), 0,
		unsafe.Sizeof(set), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// monotonicMS returns the monotonic clock in milliseconds. The kernel never refuses
// CLOCK_MONOTONIC.
func monotonicMS() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	//nolint:gosec // the kernel writes it by address
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano() / 1e6
}

// again reports whether a call was interrupted and should be repeated.
func again(err error) bool { return errors.Is(err, syscall.EINTR) }

// readFD calls read(2), and repeats it after EINTR.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !again(err) {
			return max(n, 0), err
		}
	}
}

// writeAll calls write(2) until all of p is written. fd must be blocking.
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

// closeFD closes an open descriptor and sets it to -1, so that a second call does nothing.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = syscall.Close(*fd) // no data is buffered, and the number is released even on error
		*fd = -1
	}
}

// readable returns how many bytes are waiting in the pipe.
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
