package runsc

// Args is the whole command line that boots one sandbox, without the binary. It is a pure function: what a sandbox is started with
// stands here and nowhere else.
//
// Every flag says something that must not depend on the default of the binary at hand:
//   - --oci-seccomp: without it the profile in the bundle is ignored with a warning;
//   - --network=none, --host-uds=none, --host-fifo=none: nothing of the host can be reached;
//   - --overlay2=none: no layer of the root is written to the host's disk;
//   - --directfs=false: the sandbox process keeps no rights on the host's file systems;
//   - --gofer-network-namespace=new: see the package comment;
//   - --character-device-policy=emulated-only, --allow-suid=false, --net-raw=false, --allow-flag-override=false: the safe defaults, said;
//   - --systemd-cgroup=false: the leaf is a path, made before;
//   - --iouring, --nvproxy, --tpuproxy, --rdmaproxy=false: no device and no ring of the host's reaches the sentry;
//   - --debug, --strace, --profile=false: nothing of a job is logged, and --profile loosens the sentry's own filter;
//   - --file-access=exclusive: nobody else changes a root;
//   - --sidecar-usage-policy: STRICT would also ask for a prewarmer, so runsc may boot by itself where [Runsc.UseSentry] has
//     found no sentry; Run refuses a sandbox whose process executes anything but the file that was checked;
//   - --sidecar-release-enforcement-policy=ALWAYS: a sentry of another version than runsc's ends at its start;
//   - --host-settings=ignore: boot looks at nothing of the host but what it needs.
func Args(root string, f Flags, o RunOpts) []string {
	args := []string{
		"--root=" + root,
		"--log-fd=3",
		"--log-format=json",
		"--platform=systrap",
		"--network=none",
		"--host-uds=none",
		"--host-fifo=none",
		"--overlay2=none",
		"--directfs=false",
		"--oci-seccomp",
		"--allow-suid=false",
		"--net-raw=false",
		"--allow-flag-override=false",
		"--character-device-policy=emulated-only",
		"--gofer-network-namespace=new",
		"--systemd-cgroup=false",
		"--host-settings=ignore",
		"--iouring=false",
		"--nvproxy=false",
		"--tpuproxy=false",
		"--rdmaproxy=false",
		"--debug=false",
		"--strace=false",
		"--profile=false",
		"--file-access=exclusive",
		"--sidecar-usage-policy=LEGACY_DEPRECATED_SLOW_EMBEDDED_FALLBACK",
		"--sidecar-release-enforcement-policy=ALWAYS",
	}
	if f.IgnoreCgroups {
		args = append(args, "--ignore-cgroups")
	}
	if f.NoSyscallPatching {
		args = append(args, "--systrap-disable-syscall-patching")
	}
	return append(args, "run", "--detach", "--bundle="+o.Bundle, "--pid-file="+o.pidFile(), o.ID)
}
