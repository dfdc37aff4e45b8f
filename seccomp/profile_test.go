package seccomp

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// forbidden are the calls of the attacks A02 to A14. None may ever be allowed, with or without
// conditions.
var forbidden = strings.Fields(`
	clone3
	io_setup io_submit io_getevents io_cancel io_destroy unshare setns ptrace process_vm_readv process_vm_writev
	kcmp memfd_create syslog
	perf_event_open userfaultfd name_to_handle_at open_by_handle_at add_key request_key keyctl
	mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
	pidfd_getfd init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct
	quotactl settimeofday
	clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm lookup_dcookie vhangup modify_ldt
	bpf io_uring_setup io_uring_enter io_uring_register fanotify_init fanotify_mark remap_file_pages mbind
	set_mempolicy migrate_pages
	move_pages vmsplice seccomp shmget msgget semget`)

func TestProfile(t *testing.T) {
	for arch := range architectures {
		t.Run(arch, func(t *testing.T) {
			p := profileFor(arch)
			if err := validateFor(arch, p); err != nil {
				t.Error(err)
			}
			listed := map[string]bool{}
			for _, rule := range p.Syscalls {
				if unimplemented(rule) {
					continue
				}
				for _, name := range rule.Names {
					listed[name] = true
				}
				for _, arg := range rule.Args {
					if arg.Op != specs.OpMaskedEqual || arg.Value > low32 {
						t.Errorf("%v: condition %+v looks at bits that the sentry does not", rule.Names, arg)
					}
				}
			}
			for _, name := range forbidden {
				if listed[name] {
					t.Errorf("%s is on the list", name)
				}
			}
		})
	}
}

// TestProfileIsTheCallers checks that changes to Profile's result do not affect the next caller.
func TestProfileIsTheCallers(t *testing.T) {
	p := Profile()
	p.DefaultAction = specs.ActAllow
	p.Syscalls[0].Names[0] = "mount"
	p.Syscalls[1].Args[0].ValueTwo = 1
	if err := Validate(Profile()); err != nil {
		t.Error(err)
	}
	if Profile().Syscalls[0].Names[0] == "mount" || Profile().Syscalls[1].Args[0].ValueTwo == 1 {
		t.Error("two callers share one profile")
	}
}

func TestValidateRefuses(t *testing.T) {
	enosys, eperm, huge := uint(unix.ENOSYS), uint(unix.EPERM), uint(65536)
	tests := []struct {
		name   string
		change func(p *specs.LinuxSeccomp)
		want   string
	}{
		{"default allow", func(p *specs.LinuxSeccomp) { p.DefaultAction = specs.ActAllow }, "defaultAction"},
		{"default log", func(p *specs.LinuxSeccomp) { p.DefaultAction = specs.ActLog }, "defaultAction"},
		{
			"default kill process",
			func(p *specs.LinuxSeccomp) { p.DefaultAction = specs.ActKillProcess },
			"defaultAction",
		},
		{"no default", func(p *specs.LinuxSeccomp) { p.DefaultAction = "" }, "defaultAction"},
		{
			"default errno that runsc ignores",
			func(p *specs.LinuxSeccomp) { p.DefaultErrnoRet = &enosys },
			"defaultErrnoRet 38",
		},
		{"errno over 65535", func(p *specs.LinuxSeccomp) { p.Syscalls[0].ErrnoRet = &huge }, "errnoRet 65536"},
		{"no architecture", func(p *specs.LinuxSeccomp) { p.Architectures = nil }, "architectures"},
		{
			"32-bit architecture",
			func(p *specs.LinuxSeccomp) { p.Architectures = append(p.Architectures, specs.ArchX86) },
			"architectures",
		},
		{"x32", func(p *specs.LinuxSeccomp) { p.Architectures = []specs.Arch{specs.ArchX32} }, "architectures"},
		{
			"flags",
			func(p *specs.LinuxSeccomp) { p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog} },
			"flags",
		},
		{"listener", func(p *specs.LinuxSeccomp) { p.ListenerPath = "/run/x" }, "listeners"},
		{"empty", func(p *specs.LinuxSeccomp) { p.Syscalls = nil }, "empty"},
		{"rule without names", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names = nil }, "no names"},
		{"unknown name", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names[3] = "opennat" }, `"opennat"`},
		{"name with NUL", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names[3] = "read\x00" }, `"read\x00"`},
		{"action log", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActLog }, "SCMP_ACT_LOG"},
		{
			"action kill process",
			func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActKillProcess },
			"KILL_PROCESS",
		},
		{"action trace", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActTrace }, "SCMP_ACT_TRACE"},
		{"clone3 traced and allowed", func(p *specs.LinuxSeccomp) {
			p.Syscalls[0].Names = append(slices.Clone(p.Syscalls[0].Names), "clone3")
		}, "listed twice"},
		{"action errno", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Action = specs.ActErrno }, "SCMP_ACT_ERRNO"},
		{"twice", func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names[3] = p.Syscalls[0].Names[4] }, "listed twice"},
		{
			"void condition",
			func(p *specs.LinuxSeccomp) { p.Syscalls[0].Names[3] = "socket" },
			"conditions mean nothing",
		},
		{"index", func(p *specs.LinuxSeccomp) { p.Syscalls[1].Args[0].Index = 6 }, "index 6"},
		{"operator", func(p *specs.LinuxSeccomp) { p.Syscalls[1].Args[0].Op = "SCMP_CMP_SOMETIMES" }, "SOMETIMES"},
		{"either", func(p *specs.LinuxSeccomp) {
			p.Syscalls[1].Args = append(p.Syscalls[1].Args, p.Syscalls[1].Args[0])
		}, "would mean either"},
		{"second value unused", func(p *specs.LinuxSeccomp) {
			p.Syscalls[1].Args[0] = specs.LinuxSeccompArg{Op: specs.OpEqualTo, ValueTwo: 1}
		}, "valueTwo"},
		{"never true", func(p *specs.LinuxSeccomp) { p.Syscalls[1].Args[0].ValueTwo = 1 }, "never equal"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := profileFor("amd64")
			test.change(p)
			if err := validateFor("amd64", p); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	if Validate(nil) == nil {
		t.Error("a missing profile is valid")
	}
	if validateFor("s390x", Profile()) == nil {
		t.Error("an architecture without a table is supported")
	}
	p := profileFor("amd64")
	p.DefaultErrnoRet = &eperm
	if err := validateFor("amd64", p); err != nil {
		t.Errorf("an errno that runsc does answer: %v", err)
	}
}
