package bundle

import (
	"github.com/opencontainers/runtime-spec/specs-go"
)

// What the empty sandbox's own container consists of.
const (
	// Pause is its PID 1: it waits in ppoll(2) for as long as the sandbox lives, and can do nothing else.
	Pause = "/pause"

	pauseCall = "ppoll"
	pauseUser = 65534
)

// Empty returns the configuration of a sandbox that waits for the container of a job (Params.Sandbox). root is an EROFS image that holds
// Pause and the mount points of the kernel's own trees, cgroup is as in Params, and arch is the filter's one architecture.
//
// The job's container has its own root, mounts and PID namespace; IPC and UTS namespace belong to the sandbox, as they do to a sandbox with
// one container. So that nothing can be in them, the empty sandbox's process has no capability, no user that owns
// anything, and a filter that allows it one system call.
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
