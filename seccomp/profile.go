package seccomp

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// group is a reviewed part of the allow-list: system calls that serve the same purpose.
type group struct {
	purpose string
	names   []string // on every architecture
	amd64   []string // older names that only amd64 has
}

// groups are the calls that are allowed with any arguments. All calls that are neither here nor in
// conditional return EPERM, and so do calls that runsc does not know.
var groups = []group{
	{
		purpose: "read and write open files",
		names: []string{
			"read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2",
			"lseek",
			"sendfile", "splice", "copy_file_range", "fadvise64",
			"fsync", "fdatasync", "sync", "fallocate", "ftruncate", "truncate", "flock",
		},
	},
	{
		purpose: "descriptors",
		names:   []string{"close", "close_range", "dup", "dup3", "fcntl", "ioctl", "pipe2"},
		amd64:   []string{"dup2", "pipe"},
	},
	{
		purpose: "names and metadata of files",
		names: []string{
			"openat", "openat2", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "faccessat", "faccessat2",
			"readlinkat",
			"getdents64", "getcwd", "chdir", "fchdir", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat",
			"symlinkat",
			"fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "umask",
		},
		amd64: []string{
			"open", "creat", "stat", "lstat", "access", "readlink", "getdents", "mkdir", "rmdir", "unlink", "rename",
			"link", "symlink",
			"chmod", "chown", "lchown", "utime", "utimes",
		},
	},
	{
		// security.* needs a capability that no job has.
		purpose: "extended attributes: cp -p and mv need the sentry's own EOPNOTSUPP",
		names: []string{
			"getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr",
			"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr",
		},
	},
	{
		purpose: "watching files; events never leave the sandbox",
		names:   []string{"inotify_init1", "inotify_add_watch", "inotify_rm_watch"},
	},
	{
		purpose: "memory",
		names: []string{
			"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "msync", "mincore",
			"mlock", "munlock", "mlockall", "munlockall", // stubs in the sentry
			"membarrier",
		},
	},
	{
		purpose: "threads and scheduling",
		names: []string{
			"set_tid_address", "set_robust_list", "rseq", "futex", "gettid",
			"sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam", "sched_getscheduler",
			"sched_setscheduler",
			"sched_get_priority_max", "sched_get_priority_min", "getpriority", "setpriority", "getcpu",
		},
		amd64: []string{"fork", "vfork", "arch_prctl"},
	},
	{
		purpose: "processes",
		names: []string{
			"execve", "execveat", "exit", "exit_group", "wait4", "waitid", "getpid", "getppid", "getpgid", "setpgid",
			"getsid",
			"setsid", "uname", "sysinfo", "times", "getrusage", "getrlimit", "setrlimit", "prlimit64",
			"restart_syscall", "getrandom",
			"pidfd_open", "pidfd_send_signal", // not pidfd_getfd, which copies another process's descriptors
		},
		amd64: []string{"getpgrp"},
	},
	{
		// The job has no capability, so these calls give it nothing.
		purpose: "identity: init needs these calls to become the job",
		names: []string{
			"getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "capget", "capset",
			"setuid", "setgid", "setresuid", "setresgid", "setgroups",
		},
	},
	{
		purpose: "signals",
		names: []string{
			"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "rt_sigsuspend",
			"sigaltstack",
			"rt_sigqueueinfo", "rt_tgsigqueueinfo", "kill", "tkill", "tgkill", "signalfd4",
		},
		amd64: []string{"pause"},
	},
	{
		purpose: "time, read only",
		names: []string{
			"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getitimer", "setitimer",
			"timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete",
			"timerfd_create", "timerfd_settime", "timerfd_gettime",
		},
		amd64: []string{"time", "alarm"},
	},
	{
		purpose: "waiting for events",
		names:   []string{"ppoll", "pselect6", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "eventfd2"},
		amd64:   []string{"poll", "select", "epoll_create", "epoll_wait"},
	},
	{
		purpose: "sockets of the families that socket(2) allows: Unix and loopback",
		names: []string{
			"socketpair", "bind", "listen", "accept", "accept4", "connect", "getsockname", "getpeername", "shutdown",
			"getsockopt", "setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg",
		},
	},
}

// low32 masks an argument that the kernel reads as 32 bits.
const low32 = 0xffffffff

// is returns the condition that the low 32 bits of argument i, under mask, equal want.
func is(i uint, mask, want uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: i, Op: specs.OpMaskedEqual, Value: mask, ValueTwo: want}
}

// Values of the kernel's ABI for the conditions below.
const (
	newNamespaces = 0x7e020000 // CLONE_NEWNS|CGROUP|UTS|IPC|USER|PID|NET

	afUnix, afInet, afNetlink = 1, 2, 16
	inetDiffer                = 2 ^ 10 // the bit in which AF_INET and AF_INET6 differ
	sockTypeMask              = 0xf
	sockStream, sockDgram     = 1, 2
	netlinkRoute              = 0

	fileTypeMask, fifo = 0o170000, 0o010000

	perQuery = 0xffffffff
)

// prctlOptions are the allowed options of prctl(2), which affect only the caller. They are ranges
// of numbers, because each condition costs boot time. The sentry returns EINVAL for the other
// numbers in a range. PR_SET_SECCOMP (22), PR_SET_SECUREBITS (28), PR_SET_MM (35) and
// PR_SET_PTRACER are left out.
var prctlOptions = []specs.LinuxSeccompArg{
	is(0, low32&^15, 0),      // 0 to 15: PDEATHSIG, DUMPABLE, KEEPCAPS, TIMING, PR_SET_NAME
	is(0, low32&^3, 16),      // 16 to 19: PR_GET_NAME
	is(0, low32, 23),         // PR_CAPBSET_READ
	is(0, low32&^3, 24),      // 24 to 27: PR_CAPBSET_DROP, PR_GET_SECUREBITS
	is(0, low32&^3, 36),      // 36 to 39: CHILD_SUBREAPER, NO_NEW_PRIVS
	is(0, low32&^7, 40),      // 40 to 47: THP_DISABLE, PR_CAP_AMBIENT
	is(0, low32, 0x53564d41), // PR_SET_VMA, by which runtimes name their mappings
}

// cloneByPointer is the call that must return ENOSYS instead of EPERM; see the package comment.
const cloneByPointer = "clone3"

// unimplemented reports whether the rule makes only cloneByPointer return ENOSYS.
func unimplemented(rule specs.LinuxSyscall) bool {
	return rule.Action == specs.ActTrace && len(rule.Names) == 1 && rule.Names[0] == cloneByPointer &&
		len(rule.Args) == 0
}

// conditional returns the calls that are allowed for some arguments only, and clone3. Entries of
// the same name are alternatives.
func conditional(arch string) []specs.LinuxSyscall {
	allow := func(name string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args}
	}
	out := []specs.LinuxSyscall{
		// Threads and processes, never a namespace.
		allow("clone", is(0, newNamespaces, 0)),
		{Names: []string{cloneByPointer}, Action: specs.ActTrace},
		// Local and loopback sockets, never raw or packet. getaddrinfo reads the addresses from a
		// route socket.
		allow("socket", is(0, low32, afUnix)),
		allow("socket", is(0, low32&^inetDiffer, afInet), is(1, sockTypeMask, sockStream)),
		allow("socket", is(0, low32&^inetDiffer, afInet), is(1, sockTypeMask, sockDgram)),
		allow("socket", is(0, low32, afNetlink), is(2, low32, netlinkRoute)),
		// A query of the caller's execution domain, never a change.
		allow("personality", is(0, low32, perQuery)),
		// mkfifo, never a device, nor the whiteout 0:0.
		allow("mknodat", is(2, fileTypeMask, fifo)),
	}
	if arch == "amd64" {
		out = append(out, allow("mknod", is(1, fileTypeMask, fifo)))
	}
	for _, option := range prctlOptions {
		out = append(out, allow("prctl", option))
	}
	return out
}

// architectures maps a GOARCH to the only architecture of its profile: no 32-bit ABI, no x32.
var architectures = map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}

// Profile returns the profile of this architecture. The caller owns the result.
func Profile() *specs.LinuxSeccomp { return profileFor(runtime.GOARCH) }

func profileFor(arch string) *specs.LinuxSeccomp {
	var names []string
	for _, g := range groups {
		names = append(names, g.names...)
		if arch == "amd64" {
			names = append(names, g.amd64...)
		}
	}
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{architectures[arch]},
		Syscalls:      append([]specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}}, conditional(arch)...),
	}
}
