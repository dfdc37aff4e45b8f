package bundle

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The empty sandbox's own container.
const (
	// Pause is PID 1 of an empty sandbox. It waits in ppoll(2) for as long as the sandbox lives,
	// and can do nothing else.
	Pause = "/pause"

	pauseCall = "ppoll"
	pauseUser = 65534
)

// Empty returns the configuration of a sandbox that waits for a job's container (Params.Sandbox).
// root is an EROFS image with [Pause] and the mount points of the kernel's own trees. cgroup is the
// same as in [Params]. arch is the filter's only architecture.
//
// The job's container has its own root, mounts and PID namespace. The IPC and UTS namespaces belong
// to the sandbox, as in a sandbox with a single container. The empty sandbox's process must leave
// nothing there, so it has no capabilities, a user that owns nothing, and a filter with a single
// system call.
func Empty(root Tree, cgroup string, arch specs.Arch) *specs.Spec {
	score := oomScore
	return &specs.Spec{
		Version:  "1.0.0",
		Hostname: Hostname,
		Root:     &specs.Root{Path: unusedRoot, Readonly: true},
		Process: &specs.Process{
			User:            specs.User{UID: pauseUser, GID: pauseUser},
			Args:            []string{Pause},
			Env:             []string{initEnv},
			Cwd:             "/",
			NoNewPrivileges: true,
			OOMScoreAdj:     &score,
			Capabilities:    &specs.LinuxCapabilities{},
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NPROC", Soft: 1, Hard: 1},
				{Type: "RLIMIT_NOFILE", Soft: 3, Hard: 3},
				{Type: "RLIMIT_FSIZE", Soft: 1, Hard: 1},
				{Type: "RLIMIT_CORE"},
			},
		},
		Mounts: kernelMounts(),
		Linux: &specs.Linux{
			CgroupsPath: cgroup,
			Namespaces:  namespaces(),
			Seccomp: &specs.LinuxSeccomp{
				DefaultAction: specs.ActErrno,
				Architectures: []specs.Arch{arch},
				Syscalls:      []specs.LinuxSyscall{{Names: []string{pauseCall}, Action: specs.ActAllow}},
			},
		},
		Annotations: map[string]string{
			annotationSource: root.Path, annotationType: EROFS,
			annotationContainer: "sandbox",
		},
	}
}
