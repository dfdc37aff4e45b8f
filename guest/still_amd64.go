package guest

import (
	"syscall"
	"unsafe"
)

// handlers returns the addresses of endSleeper, nothing and sigreturn (still_amd64.s).
func handlers() (endSleeper, nothing, sigreturn uintptr)

const saRestorer = 0x04000000

// stillTries bounds how often still tries: a thread that never sleeps is left alone.
const stillTries = 1000

// still makes init one thread that nothing disturbs. The monitor thread of the Go runtime looks, every 20 µs while something happens, for
// goroutines to preempt and for system calls that last; init has one goroutine, and each look is two switches into the kernel of the sandbox,
// on a CPU that the job could have. It is ended where it holds nothing, in its sleep. What the runtime does without it is the same but for
// forced collections after two minutes, and for preemption, for which there is nobody. A thread that cannot be ended costs time and nothing else.
//
// The end of a child ends a poll early, and then nothing more: the runtime's own handler would look for somebody who wants to know.
func still() error {
	endSleeper, nothing, sigreturn := handlers()
	tid := monitor()
	if tid != 0 {
		var old [4]uintptr
		if err := sigaction(syscall.SIGUSR1, &[4]uintptr{endSleeper, saRestorer, sigreturn}, &old); err != nil {
			return err
		}
		for range stillTries {
			if _, _, e := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(tid), uintptr(syscall.SIGUSR1)); e != 0 {
				break // ESRCH: it has ended
			}
			ts := syscall.Timespec{Nsec: 20e3}
			//nolint:gosec // the kernel reads it by address
			_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
		}
		if err := sigaction(syscall.SIGUSR1, &old, nil); err != nil {
			return err
		}
	}
	return sigaction(syscall.SIGCHLD, &[4]uintptr{nothing, saRestorer, sigreturn}, nil)
}

// sigaction is rt_sigaction(2) behind the runtime's back: handler, flags, restorer, mask.
func sigaction(sig syscall.Signal, act, old *[4]uintptr) error {
	//nolint:gosec // the kernel reads and writes these by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// monitor is the id of the runtime's monitor thread, the first that it starts beside the one of main; 0 when that cannot be told.
func monitor() int {
	dir, err := openDir("/proc/self/task")
	if err != nil {
		return 0
	}
	defer closeFD(&dir)
	names, more, err := list(dir, 64)
	if err != nil || more {
		return 0
	}
	first := 0
	for _, name := range names {
		tid := 0
		for _, c := range []byte(name) {
			tid = 10*tid + int(c-'0')
		}
		if tid != syscall.Getpid() && (first == 0 || tid < first) {
			first = tid
		}
	}
	return first
}
