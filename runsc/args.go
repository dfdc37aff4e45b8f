package runsc

// Args returns the whole command line that boots a sandbox, without the binary. It is a pure
// function and the only place that decides how a sandbox is started.
//
// The flags below must not depend on the defaults of the installed binary:
//   - --oci-seccomp: without this flag runsc ignores the profile in the bundle with a warning.
//   - --network=none, --host-uds=none, --host-fifo=none: the sandbox cannot reach the host.
//   - --overlay2=none: no layer of the root is written to the host's disk.
//   - --directfs=false: the sandbox process keeps no rights on the host's file systems.
//   - --gofer-network-namespace=new: see the package comment.
//   - --character-device-policy=emulated-only, --allow-suid=false, --net-raw=false,
//     --allow-flag-override=false: the safe defaults, made explicit.
//   - --systemd-cgroup=false: the leaf is a path that already exists.
//   - --iouring, --nvproxy, --tpuproxy, --rdmaproxy=false: the sentry gets no host device and no
//     io_uring.
//   - --debug, --strace, --profile=false: nothing of a job is logged, and --profile would loosen
//     the sentry's own filter.
//   - --file-access=exclusive: only the sandbox uses its root.
//   - --sidecar-usage-policy: STRICT would also require a prewarmer, so runsc may boot by itself if
//     [Runsc.UseSentry] has found no sentry. Run refuses a sandbox whose process executes any other
//     file than the checked one.
//   - --sidecar-release-enforcement-policy=ALWAYS: a sentry whose version differs from runsc's
//     exits at its start.
//   - --host-settings=ignore: boot reads only the host settings that it needs.
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
