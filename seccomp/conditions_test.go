package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// allows evaluates the conditions of a call as runsc does.
func allows(name string, args ...uint64) bool {
	for _, rule := range Profile().Syscalls {
		if rule.Action != specs.ActAllow {
			continue
		}
		for _, n := range rule.Names {
			if n != name {
				continue
			}
			match := true
			for _, a := range rule.Args {
				match = match && a.Op == specs.OpMaskedEqual && args[a.Index]&a.Value == a.ValueTwo
			}
			if match {
				return true
			}
		}
	}
	return false
}

// TestConditions tries every small value of the checked arguments.
func TestConditions(t *testing.T) {
	for option := range uint64(256) {
		want := option <= 19 || option >= 23 && option <= 27 || option >= 36 && option <= 47
		for _, garbage := range []uint64{0, 1 << 32, 1 << 63} {
			if got := allows("prctl", option|garbage); got != want {
				t.Errorf("prctl %d with %#x above: %v, want %v", option, garbage, got, want)
			}
		}
	}
	for _, option := range []uint64{unix.PR_SET_SECCOMP, unix.PR_SET_SECUREBITS, unix.PR_SET_MM} {
		if allows("prctl", option) {
			t.Errorf("prctl %d is allowed", option)
		}
	}
	if allows("prctl", unix.PR_SET_PTRACER) || !allows("prctl", unix.PR_SET_VMA) {
		t.Error("prctl: PR_SET_PTRACER is allowed or PR_SET_VMA is not")
	}
	for family := range uint64(64) {
		for typ := range uint64(16) {
			for protocol := range uint64(32) {
				var want bool
				switch family {
				case unix.AF_UNIX:
					want = true
				case unix.AF_INET, unix.AF_INET6:
					want = typ == unix.SOCK_STREAM || typ == unix.SOCK_DGRAM
				case unix.AF_NETLINK:
					want = protocol == unix.NETLINK_ROUTE
				}
				if got := allows("socket", family, typ|unix.SOCK_CLOEXEC, protocol); got != want {
					t.Errorf("socket %d %d %d: %v, want %v", family, typ, protocol, got, want)
				}
			}
		}
	}
	for _, flag := range []uint64{
		unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER,
		unix.CLONE_NEWPID, unix.CLONE_NEWNET,
	} {
		if allows("clone", flag|unix.CLONE_VM) || allows("clone", flag|1<<40) {
			t.Errorf("clone %#x is allowed", flag)
		}
	}
	if !allows(
		"clone",
		unix.CLONE_VM|unix.CLONE_FS|unix.CLONE_FILES|unix.CLONE_SIGHAND|unix.CLONE_THREAD|unix.CLONE_SYSVSEM|
			unix.CLONE_SETTLS|unix.CLONE_PARENT_SETTID|unix.CLONE_CHILD_CLEARTID,
	) {
		t.Error("clone for a thread is refused")
	}
	for mode := range uint64(1 << 17) {
		if got := allows("mknodat", 0, 0, mode); got != (mode&unix.S_IFMT == unix.S_IFIFO) {
			t.Fatalf("mknodat %#o: %v", mode, got)
		}
	}
}
