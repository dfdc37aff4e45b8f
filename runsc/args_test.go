package runsc

import (
	"slices"
	"strings"
	"testing"
)

// TestArgs checks attack J02 over the cross product of the command line's inputs.
func TestArgs(t *testing.T) {
	always := []string{
		"--oci-seccomp", "--network=none", "--host-uds=none", "--host-fifo=none", "--overlay2=none",
		"--platform=systrap",
		"--directfs=false", "--allow-suid=false", "--allow-flag-override=false", "--net-raw=false",
		"--gofer-network-namespace=new",
		"--character-device-policy=emulated-only",
		"--iouring=false", "--nvproxy=false", "--tpuproxy=false", "--rdmaproxy=false", "--debug=false",
		"--strace=false",
		"--profile=false", "--file-access=exclusive", "--sidecar-release-enforcement-policy=ALWAYS",
		"--sidecar-usage-policy=LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
	}
	// Flags that may have no other value, and flags that must be absent.
	never := []string{
		"--rootless", "--TESTONLY", "--nvproxy", "--rdmaproxy", "--tpuproxy", "--debug", "--strace",
		"--alsologtostderr", "--log=", "--panic-log",
		"--profile", "--allow-rootfs-tar-annotation", "--iouring", "--reproduce-", "--pass-fd", "--exec-fd",
		"--EXPERIMENTAL",
		"--allow-packet-socket-write", "--pod-init-config", "--metric-server", "--trace", "--overlay=",
		"--fsgofer-host-uds", "--shared-root",
	}
	for _, root := range []string{"/run/tsubo/runsc", "/r"} {
		for _, flags := range []Flags{
			{}, {IgnoreCgroups: true}, {NoSyscallPatching: true}, {IgnoreCgroups: true, NoSyscallPatching: true},
		} {
			for _, id := range []string{"0123456789abcdef", "a"} {
				for _, bundle := range []string{"/run/tsubo/b/1", "/b"} {
					args := Args(root, flags, RunOpts{ID: id, Bundle: bundle})
					name := strings.Join(args, " ")
					given := map[string]int{}
					for _, a := range args {
						if strings.HasPrefix(a, "-") {
							if !strings.HasPrefix(a, "--") {
								t.Errorf("%s: %s has one dash", name, a)
							}
							flag, _, _ := strings.Cut(a, "=")
							given[flag]++
						}
						for _, bad := range never {
							if strings.HasPrefix(a, bad) && !slices.Contains(always, a) {
								t.Errorf("%s: has %s", name, a)
							}
						}
					}
					for flag, n := range given {
						if n > 1 {
							t.Errorf("%s: %s is given %d times", name, flag, n)
						}
					}
					run := slices.Index(args, "run")
					for _, want := range append(always, "--root="+root) {
						if i := slices.Index(args, want); i < 0 || i > run {
							t.Errorf("%s: %s is missing or after the verb", name, want)
						}
					}
					for flag, want := range map[string]bool{
						"--ignore-cgroups":                   flags.IgnoreCgroups,
						"--systrap-disable-syscall-patching": flags.NoSyscallPatching,
					} {
						if got := slices.Contains(args[:run], flag); got != want {
							t.Errorf("%s: %s %v, want %v", name, flag, got, want)
						}
					}
					for _, want := range []string{"--detach", "--bundle=" + bundle, "--pid-file=" + bundle + "/pid"} {
						if slices.Index(args, want) < run {
							t.Errorf("%s: %s is missing or before the verb", name, want)
						}
					}
					if args[len(args)-1] != id {
						t.Errorf("%s: the id is not last", name)
					}
				}
			}
		}
	}
}
