package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// The kinds of a read-only file tree.
const (
	EROFS     = "erofs"     // an image file, mapped by the sentry
	Directory = "directory" // a directory, served by a gofer process
)

// Tree is a read-only file tree on the host.
type Tree struct {
	Kind string // EROFS or Directory
	Path string // absolute and clean: the image file, or the directory
}

// Params is everything that differs between sandboxes. [Config] does not check the parameters.
// [Write] checks the resulting configuration.
type Params struct {
	Root  Tree // the job's root, made by tsubo with every mount point
	Guest Tree // holds tsubo-init; mounted as /.tsubo

	// Cgroup is the path of the sandbox's leaf in runsc's view. It is "" on a host without leaves,
	// which needs --ignore-cgroups.
	Cgroup string

	// Sandbox is the id of the empty sandbox that gets this container. "" means a sandbox of its
	// own. If set, both trees are EROFS and Cgroup is "", because the sandbox is in its leaf
	// already.
	Sandbox string

	Limits job.Limits

	SharedMemory int64 // size of /dev/shm in bytes; 0 means not writable
	Code, Input  int64 // sizes of /code and /input in bytes; 0 means CodeSize and InputSize

	Seccomp *specs.LinuxSeccomp // the filter; Config shares it with the result
}

// Sizes in bytes of the trees that only init writes to. They hold the largest code and input that a
// configuration can allow.
const (
	CodeSize  = 16 * job.MiB
	InputSize = 128 * job.MiB
)

// Names that are the same in every sandbox.
const (
	GuestDir = "/.tsubo"            // where Params.Guest is mounted
	Init     = "/.tsubo/tsubo-init" // PID 1
	Hostname = "sandbox"

	// initEnv is the whole environment of an empty sandbox's process, and the first variable of
	// init's. Without HOME the sentry would search the image's /etc/passwd.
	initEnv = "HOME=/"
	// initThreads keeps init's Go runtime from starting more threads. Init uses only its first
	// thread.
	initThreads = "GOMAXPROCS=1"

	jobUID = 1000 // also the GID

	// oomScore makes the kernel of a host without memory kill a sandbox before the daemon. The
	// sandbox would otherwise inherit the daemon's score.
	oomScore = 500

	// unusedRoot is the root.path beside an EROFS root: a name in the bundle that does not exist. A
	// runtime that does not know the annotations then finds nothing to run.
	unusedRoot = "rootfs"

	annotationSource = "dev.gvisor.spec.rootfs.source"
	annotationType   = "dev.gvisor.spec.rootfs.type"

	// The annotations by which runsc recognizes sandboxes with several containers (containerd's
	// names).
	annotationContainer = "io.kubernetes.cri.container-type"
	annotationSandbox   = "io.kubernetes.cri.sandbox-id"
)

// capabilities are init's. SETUID and SETGID let init become the job's user, and SETPCAP drop all
// capabilities for the job. KILL ends the job's processes. CHOWN and DAC_READ_SEARCH give /output
// away and read it back. The job has none.
var capabilities = []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_CHOWN", "CAP_DAC_READ_SEARCH"}

// Config returns the configuration of a sandbox. The caller owns the result.
func Config(p Params) *specs.Spec {
	score := oomScore
	spec := &specs.Spec{
		Version:  "1.0.0",
		Hostname: Hostname,
		Root:     &specs.Root{Path: p.Root.Path, Readonly: true},
		Process: &specs.Process{
			User:            specs.User{UID: 0, GID: 0},
			Args:            []string{Init},
			Env:             []string{initEnv, initThreads},
			Cwd:             "/",
			NoNewPrivileges: true,
			OOMScoreAdj:     &score,
			Capabilities: &specs.LinuxCapabilities{
				Bounding:  slices.Clone(capabilities),
				Effective: slices.Clone(capabilities),
				Permitted: slices.Clone(capabilities),
			},
			Rlimits: rlimits(p.Limits),
		},
		Mounts: mounts(p),
		Linux: &specs.Linux{
			CgroupsPath: p.Cgroup,
			Namespaces:  namespaces(),
			Seccomp:     p.Seccomp,
		},
	}
	if p.Root.Kind == EROFS {
		spec.Root.Path = unusedRoot
		spec.Annotations = map[string]string{annotationSource: p.Root.Path, annotationType: EROFS}
	}
	if p.Sandbox != "" {
		if spec.Annotations == nil {
			spec.Annotations = map[string]string{}
		}
		spec.Annotations[annotationContainer] = "container"
		spec.Annotations[annotationSandbox] = p.Sandbox
	}
	return spec
}

// namespaces returns new namespaces of every kind that a sandbox has.
func namespaces() []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.NetworkNamespace},
	}
}

// rlimits returns the limits of init, which the job inherits. NPROC is counted per user, so init's
// own threads do not count.
func rlimits(l job.Limits) []specs.POSIXRlimit {
	tasks := l.Tasks()
	return []specs.POSIXRlimit{
		{Type: "RLIMIT_NPROC", Soft: tasks.Soft, Hard: tasks.Hard},
		{Type: "RLIMIT_NOFILE", Soft: l.NoFile.Soft, Hard: l.NoFile.Hard},
		{Type: "RLIMIT_FSIZE", Soft: l.FSize, Hard: l.FSize},
		{Type: "RLIMIT_CORE"},
	}
}

func mounts(p Params) []specs.Mount {
	code, input := p.Code, p.Input
	if code == 0 {
		code = CodeSize
	}
	if input == 0 {
		input = InputSize
	}
	out := append(kernelMounts(),
		tmpfs("/tmp", p.Limits.Tmp, 0o1777, 0),
		tmpfs("/output", p.Limits.Output, 0o777, jobUID),
		tmpfs("/code", code, 0o755, 0),
		tmpfs("/input", input, 0o755, 0),
	)
	if p.SharedMemory != 0 {
		out = append(out, tmpfs("/dev/shm", p.SharedMemory, 0o1777, jobUID))
	}
	guest := specs.Mount{
		Destination: GuestDir,
		Type:        EROFS,
		Source:      p.Guest.Path,
		Options:     []string{"ro", "nosuid", "nodev"},
	}
	if p.Guest.Kind == Directory {
		guest.Type = "bind"
		guest.Options = append(guest.Options, "bind")
	}
	return append(out, guest)
}

// kernelMounts returns the trees that the sentry mounts in any case, with their options.
func kernelMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}},
		{Destination: "/dev", Type: "dev", Source: "dev", Options: []string{"nosuid", "noexec"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec"}},
	}
}

// tmpfs returns a mount in the sandbox's own memory. owner is the UID and GID of its root.
func tmpfs(at string, size int64, mode, owner int) specs.Mount {
	return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs", Options: []string{
		"nosuid", "nodev", "noexec",
		"size=" + strconv.FormatInt(size, 10),
		fmt.Sprintf("mode=%04o", mode),
		"uid=" + strconv.Itoa(owner),
		"gid=" + strconv.Itoa(owner),
	}}
}

// Encode checks s and returns its JSON.
func Encode(s *specs.Spec) ([]byte, error) {
	if err := Check(s); err != nil {
		return nil, fmt.Errorf("check the bundle: %w", err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode the bundle: %w", err)
	}
	return data, nil
}

// Write checks s and writes it as dir/config.json with mode 0600. The directory belongs to the
// sandbox alone, so an existing file or link of that name is an error.
func Write(dir string, s *specs.Spec) (err error) {
	data, err := Encode(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "config.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	defer func() {
		if closeErr := f.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("write the bundle: %w", closeErr)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}
