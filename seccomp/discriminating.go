package seccomp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe is one system call that a process without capabilities makes to see whether the filter is in force: Filtered with it,
// Unfiltered (0 for success) without. Most other refused calls prove nothing, because the sentry itself answers EPERM to a process
// that lacks the capability.
type Probe struct {
	Name       string
	Number     uintptr
	Args       [6]uintptr // none is a pointer, so that any process can make the call as it is
	Filtered   syscall.Errno
	Unfiltered syscall.Errno
}

// Discriminating returns the probes of a self-test (attack A02). Each must be made by a process of its own: without a filter some
// of them change their caller.
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
		// No flags pass: with CLONE_NEWUSER the job would have every capability over a user namespace of its own.
		{"clone3", unix.SYS_CLONE3, [6]uintptr{}, unix.ENOSYS, unix.EINVAL},
		{"add_key", unix.SYS_ADD_KEY, [6]uintptr{}, unix.EPERM, unix.EACCES},
	}
}
