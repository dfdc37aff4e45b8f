package rootfs

import (
	"fmt"
	"slices"

	bpf "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// allowed lists the system calls of a child that unpacks, verifies or writes an image: files below
// its root, memory, threads, time and exit. All others fail with EPERM. Names unknown to an
// architecture are skipped.
var allowed = []string{
	// files
	"access", "chmod", "chown", "close", "close_range", "copy_file_range", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate",
	"fchdir", "chdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync",
	"ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "lchown", "link", "linkat", "lseek", "lstat", "mkdir", "mkdirat", "newfstatat",
	"open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readlink", "readlinkat", "readv", "rename",
	"renameat", "renameat2", "rmdir", "sendfile", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync_file_range", "syncfs",
	"truncate", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes", "write", "writev",
	"fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "lgetxattr", "listxattr", "llistxattr", "lremovexattr", "lsetxattr",
	"removexattr", "setxattr",
	// memory
	"brk", "madvise", "mincore", "mmap", "mprotect", "mremap", "msync", "munmap",
	// waiting, signals to itself
	"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe", "pipe2", "poll", "ppoll", "pselect6", "select",
	"restart_syscall", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "tgkill", "tkill",
	// processes (NPROC and the PID namespace bound them), threads, identity, time
	"fork", "vfork", "wait4", "waitid", "arch_prctl", "capget", "clock_getres", "clock_gettime", "clock_nanosleep", "exit", "exit_group", "futex", "get_robust_list", "getegid", "geteuid",
	"getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid",
	"gettimeofday", "getuid", "membarrier", "nanosleep", "rseq", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_yield",
	"set_robust_list", "set_tid_address", "setitimer", "sysinfo", "time", "timer_create", "timer_delete", "timer_settime", "times", "uname",
}

// newNamespaces are the flags of clone(2) that make a namespace.
const newNamespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUSER |
	unix.CLONE_NEWUTS

// filterSystemCalls denies all threads of the process every other system call for good, also after
// execve. more are allowed in addition.
func filterSystemCalls(more ...string) error {
	here, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("system call filter: %w", err)
	}
	names := slices.DeleteFunc(slices.Concat(allowed, more), func(name string) bool { _, known := here.SyscallNames[name]; return !known })
	filter := bpf.Filter{
		NoNewPrivs: true, Flag: bpf.FilterFlagTSync,
		Policy: bpf.Policy{
			DefaultAction: bpf.ActionErrno,
			Syscalls: []bpf.SyscallGroup{
				{Action: bpf.ActionAllow, Names: names, NamesWithCondtions: []bpf.NameWithConditions{
					{Name: "clone", Conditions: bpf.ArgumentConditions{{Argument: 0, Operation: bpf.BitsNotSet, Value: newNamespaces}}},
					{Name: "prlimit64", Conditions: bpf.ArgumentConditions{{Argument: 2, Operation: bpf.Equal, Value: 0}}}, // read only
					{Name: "prctl", Conditions: bpf.ArgumentConditions{{Argument: 0, Operation: bpf.Equal, Value: unix.PR_SET_VMA}}},
					{Name: "prctl", Conditions: bpf.ArgumentConditions{{Argument: 0, Operation: bpf.Equal, Value: unix.PR_SET_NAME}}},
					{Name: "ioctl", Conditions: bpf.ArgumentConditions{{Argument: 1, Operation: bpf.Equal, Value: unix.TCGETS}}},
					{Name: "ioctl", Conditions: bpf.ArgumentConditions{{Argument: 1, Operation: bpf.Equal, Value: unix.FICLONE}}},
					// Only FIFOs: a device node takes a capability besides, and a socket would have
					// no peer.
					{Name: "mknodat", Conditions: bpf.ArgumentConditions{{Argument: 2, Operation: bpf.BitsNotSet, Value: unix.S_IFMT &^ unix.S_IFIFO}}},
				}},
				// glibc falls back to clone, whose flags the filter checks.
				{Action: bpf.ActionErrno | bpf.Action(unix.ENOSYS), Names: []string{"clone3"}},
			},
		},
	}
	if err := bpf.LoadFilter(filter); err != nil {
		return fmt.Errorf("system call filter: %w", err)
	}
	return nil
}
