package guest

import (
	"slices"
	"syscall"
	"unsafe"
)

// handlers returns the addresses of deafen, endSleeper, nothing and sigreturn (still_amd64.s).
func handlers() (deafen, endSleeper, nothing, sigreturn uintptr)

// deaf is how many threads deafen has made so.
var deaf int32

// flags of each handler: it returns by sigreturn, on the stack that the runtime has for signals; a goroutine's may have no room for a frame.
const flags = 0x04000000 | 0x08000000 // SA_RESTORER, SA_ONSTACK

// stillTries bounds how often still tries: a thread that never sleeps is left alone.
const stillTries = 5000

// still makes init one thread that nothing disturbs. The monitor thread of the Go runtime looks, every 20 µs while something happens, for
// goroutines to preempt and for system calls that last; init has one goroutine, and each look is two switches into the kernel of the sandbox,
// on a CPU that the job could have. It is ended where it holds nothing, in its sleep. What the runtime does without it is the same but for
// forced collections after two minutes, and for preemption, for which there is nobody. A thread that cannot be ended costs time and nothing else.
//
// The end of a child ends a poll early, and then nothing more: the runtime's own handler would look for somebody who wants to know. The threads
// that the runtime keeps for later must not be told in the place of the one that polls.
func still() error {
	deafen, endSleeper, nothing, sigreturn := handlers()
	if err := sigaction(syscall.SIGCHLD, &[4]uintptr{nothing, flags, sigreturn}, nil); err != nil {
		return err
	}
	tids := others()
	if len(tids) == 0 {
		return nil
	}
	var old [4]uintptr
	if err := sigaction(syscall.SIGUSR1, &[4]uintptr{deafen, flags, sigreturn}, &old); err != nil {
		return err
	}
	told := int32(0)
	for _, tid := range tids {
		if poke(tid) {
			told++
		}
	}
	for i := 0; deaf < told && i < stillTries; i++ {
		nap()
	}
	if err := sigaction(syscall.SIGUSR1, &[4]uintptr{endSleeper, flags, sigreturn}, nil); err != nil {
		return err
	}
	monitor := slices.Min(tids) // the first that the runtime starts
	for i := 0; poke(monitor) && i < stillTries; i++ {
		nap()
	}
	return sigaction(syscall.SIGUSR1, &old, nil)
}

// poke sends a thread SIGUSR1 and reports whether there is one.
func poke(tid int) bool {
	_, _, e := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(tid), uintptr(syscall.SIGUSR1))
	return e == 0
}

func nap() {
	ts := syscall.Timespec{Nsec: 20e3}
	//nolint:gosec // the kernel reads it by address
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
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

// others are the ids of the threads beside the one of main; none when that cannot be told.
func others() (tids []int) {
	dir, err := openDir("/proc/self/task")
	if err != nil {
		return nil
	}
	defer closeFD(&dir)
	names, more, err := list(dir, 64)
	if err != nil || more {
		return nil
	}
	for _, name := range names {
		tid := 0
		for _, c := range []byte(name) {
			tid = 10*tid + int(c-'0')
		}
		if tid != syscall.Getpid() {
			tids = append(tids, tid)
		}
	}
	return tids
}
