package guest

import (
	"slices"
	"syscall"
	"unsafe"
)

// handlers returns the addresses of deafen, endSleeper, nothing and sigreturn (still_amd64.s).
func handlers() (deafen, endSleeper, nothing, sigreturn uintptr)

// deaf counts the threads that deafen has handled.
var deaf int32

// flags are the flags of each handler. The handler returns through sigreturn, and runs on the
// runtime's signal stack, because a goroutine's stack may have no room for a frame.
const flags = 0x04000000 | 0x08000000 // SA_RESTORER, SA_ONSTACK

// stillTries limits the attempts of still. A thread that never sleeps is left alone.
const stillTries = 5000

// still ends the runtime's monitor thread and leaves init with a single undisturbed thread. While
// the program is active, the monitor checks every 20 µs for goroutines to preempt and for long
// system calls. Init has one goroutine, and each check costs two switches into the sandbox's
// kernel, on a CPU that the job could use. still ends the monitor in its sleep, where it holds no
// lock. The runtime works the same without it, except for forced collections after two minutes and
// for preemption, which init does not need. A thread that cannot be ended only costs time.
//
// SIGCHLD only interrupts a poll: the runtime's own handler would search for a receiver. The
// runtime's spare threads block SIGCHLD, so that the polling thread gets it.
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
	monitor := slices.Min(tids) // the first thread that the runtime starts
	for i := 0; poke(monitor) && i < stillTries; i++ {
		nap()
	}
	return sigaction(syscall.SIGUSR1, &old, nil)
}

// poke sends a thread SIGUSR1 and reports whether the thread exists.
func poke(tid int) bool {
	_, _, e := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(tid), uintptr(syscall.SIGUSR1))
	return e == 0
}

func nap() {
	ts := syscall.Timespec{Nsec: 20e3}
	//nolint:gosec // the kernel reads it by address
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// sigaction is rt_sigaction(2) without the runtime's knowledge. Both arrays hold handler, flags,
// restorer and mask.
func sigaction(sig syscall.Signal, act, old *[4]uintptr) error {
	//nolint:gosec // the kernel reads and writes these by address
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)),
		uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// others returns the ids of all threads except the main thread. It returns nil if they are unknown.
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
