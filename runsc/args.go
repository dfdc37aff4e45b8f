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
	}
	if f.IgnoreCgroups {
		args = append(args, "--ignore-cgroups")
	}
	if f.NoSyscallPatching {
		args = append(args, "--systrap-disable-syscall-patching")
	}
	return append(args, "run", "--detach", "--bundle="+o.Bundle, "--pid-file="+o.pidFile(), o.ID)
}
