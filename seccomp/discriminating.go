package seccomp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe is a system call by which a process without capabilities detects whether the filter is
// active. The call returns Filtered with the filter and Unfiltered without; 0 means success. Most
// other refused calls prove nothing, because the sentry itself returns EPERM to a process without
// the capability.
type Probe struct {
	Name       string
	Number     uintptr
	Args       [6]uintptr // contains no pointers, so any process can make the call unchanged
	Filtered   syscall.Errno
	Unfiltered syscall.Errno
}

// Discriminating returns the probes of a self-test (attack A02). Each probe needs its own process,
// because without a filter some of them change their caller.
func Discriminating() []Probe {
	return []Probe{
		{"io_setup", unix.SYS_IO_SETUP, [6]uintptr{0}, unix.EPERM, unix.EFAULT},
		{"unshare", unix.SYS_UNSHARE, [6]uintptr{unix.CLONE_FS}, unix.EPERM, 0},
		{"ptrace", unix.SYS_PTRACE, [6]uintptr{unix.PTRACE_ATTACH, 1<<31 - 1}, unix.EPERM, unix.ESRCH},
		{"memfd_create", unix.SYS_MEMFD_CREATE, [6]uintptr{}, unix.EPERM, unix.EFAULT},
		{"syslog", unix.SYS_SYSLOG, [6]uintptr{10}, unix.EPERM, 0},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{}, unix.EPERM, unix.ENODEV},
		{"userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{}, unix.EPERM, unix.ENOSYS},
		{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, [6]uintptr{}, unix.EPERM, unix.EOPNOTSUPP},
		// With CLONE_NEWUSER the job would have every capability over its own user namespace, so
		// clone3 is refused without regard to its flags.
		{"clone3", unix.SYS_CLONE3, [6]uintptr{}, unix.ENOSYS, unix.EINVAL},
		{"add_key", unix.SYS_ADD_KEY, [6]uintptr{}, unix.EPERM, unix.EACCES},
	}
}
