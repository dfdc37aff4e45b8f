package bundle

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tsubo-run/tsubo/job"
)

var update = flag.Bool("update", false, "write the golden files")

// params returns complete parameters, in the directory form or the EROFS form.
func params(kind string) Params {
	return Params{
		Root:   Tree{Kind: kind, Path: "/var/lib/tsubo/roots/abc"},
		Guest:  Tree{Kind: kind, Path: "/run/tsubo/guest"},
		Cgroup: "/jobs/0123456789abcdef",
		Limits: job.Limits{
			Memory: 256 * job.MiB, CPU: 1, PIDs: 64,
			NProc:  job.Rlimit{Soft: 128, Hard: 256},
			NoFile: job.Rlimit{Soft: 256, Hard: 512},
			FSize:  100 * job.MiB,
			Tmp:    64 * job.MiB, Output: 55 * job.MiB,
		},
		Seccomp: &specs.LinuxSeccomp{
			DefaultAction: specs.ActErrno,
			Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"read", "write"}, Action: specs.ActAllow}},
		},
	}
}

func TestGolden(t *testing.T) {
	shm := params(EROFS)
	shm.SharedMemory, shm.Code, shm.Input = 32*job.MiB, job.MiB, 2*job.MiB
	degraded := params(Directory)
	degraded.Cgroup = ""
	for name, spec := range map[string]*specs.Spec{
		"erofs": Config(params(EROFS)), "directory": Config(params(Directory)), "shared-memory": Config(shm),
		"no-cgroup": Config(degraded),
		"added":     Config(addedParams()), "empty": empty(),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(spec, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s; run with -update and read the difference\n%s", file, got)
			}
		})
	}
}

// addedParams returns the parameters of a job's container in an empty sandbox.
func addedParams() Params {
	p := params(EROFS)
	p.Sandbox, p.Cgroup = "0123456789abcdef0123456789abcd", ""
	return p
}

func empty() *specs.Spec {
	return Empty(Tree{Kind: EROFS, Path: "/var/lib/tsubo/roots/empty"}, "/jobs/0123456789abcdef", specs.ArchX86_64)
}

// TestAddedIsTheSame checks that a container in an empty sandbox differs from a sandbox of its own
// only in its placement.
func TestAddedIsTheSame(t *testing.T) {
	own, added := deepCopy(t, Config(params(EROFS))), deepCopy(t, Config(addedParams()))
	own.Linux.CgroupsPath = ""
	delete(added.Annotations, annotationContainer)
	delete(added.Annotations, annotationSandbox)
	if !reflect.DeepEqual(own, added) {
		t.Errorf("differ:\n%+v\n%+v", own, added)
	}
}

// TestCheckRefusesEmpty changes one value of an empty sandbox's configuration at a time. Every
// result that differs from Empty's must be refused.
func TestCheckRefusesEmpty(t *testing.T) {
	for name, change := range map[string]func(s *specs.Spec){
		"relative image":     func(s *specs.Spec) { s.Annotations[annotationSource] = "image" },
		"another annotation": func(s *specs.Spec) { s.Annotations["dev.gvisor.flag.debug"] = "true" },
		"sandbox-id":         func(s *specs.Spec) { s.Annotations[annotationSandbox] = strings.Repeat("a", 30) },
		"a directory":        func(s *specs.Spec) { s.Annotations[annotationType] = Directory },
		"writable root":      func(s *specs.Spec) { s.Root.Readonly = false },
		"root":               func(s *specs.Spec) { s.Process.User.UID = 0 },
		"a capability":       func(s *specs.Spec) { s.Process.Capabilities.Effective = []string{"CAP_KILL"} },
		"another command":    func(s *specs.Spec) { s.Process.Args = []string{Init} },
		"an environment":     func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=b") },
		"two tasks":          func(s *specs.Spec) { s.Process.Rlimits[0].Hard = 2 },
		"new privileges":     func(s *specs.Spec) { s.Process.NoNewPrivileges = false },
		"a call more":        func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Names = []string{"ppoll", "execve"} },
		"two architectures": func(s *specs.Spec) {
			s.Linux.Seccomp.Architectures = append(s.Linux.Seccomp.Architectures, specs.ArchX86)
		},
		"no filter":        func(s *specs.Spec) { s.Linux.Seccomp = nil },
		"a mount more":     func(s *specs.Spec) { s.Mounts = append(s.Mounts, tmpfs("/tmp", 1, 0o777, 0)) },
		"a mount missing":  func(s *specs.Spec) { s.Mounts = s.Mounts[1:] },
		"a namespace path": func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/proc/1/ns/pid" },
		"cgroup outside":   func(s *specs.Spec) { s.Linux.CgroupsPath = "/jobs/../../x" },
		"hooks":            func(s *specs.Spec) { s.Hooks = &specs.Hooks{} },
		"another hostname": func(s *specs.Spec) { s.Hostname = "host" },
	} {
		s := deepCopy(t, empty())
		if err := Check(s); err != nil {
			t.Fatalf("before the change: %v", err)
		}
		if change(s); Check(s) == nil {
			t.Errorf("%s: is accepted", name)
		}
	}
}

// TestCheckRefusesAdded does the same for the rules of added containers.
func TestCheckRefusesAdded(t *testing.T) {
	for name, change := range map[string]func(s *specs.Spec){
		"a cgroup":          func(s *specs.Spec) { s.Linux.CgroupsPath = "/jobs/x" },
		"no sandbox-id":     func(s *specs.Spec) { delete(s.Annotations, annotationSandbox) },
		"no container-type": func(s *specs.Spec) { delete(s.Annotations, annotationContainer) },
		"another type":      func(s *specs.Spec) { s.Annotations[annotationContainer] = "unknown" },
		"as a sandbox":      func(s *specs.Spec) { s.Annotations[annotationContainer] = "sandbox" },
		"an empty type":     func(s *specs.Spec) { s.Annotations[annotationContainer] = "" },
		"a path for an id": func(s *specs.Spec) {
			s.Annotations[annotationSandbox] = "../../../run/other/sandbox-of-it"
		},
		"a name for an id":   func(s *specs.Spec) { s.Annotations[annotationSandbox] = "-flag" },
		"a third annotation": func(s *specs.Spec) { s.Annotations["io.kubernetes.cri.container-name"] = "x" },
		"a directory root": func(s *specs.Spec) {
			s.Root.Path = "/var/lib/x"
			delete(s.Annotations, annotationType)
			delete(s.Annotations, annotationSource)
		},
		"a directory guest": func(s *specs.Spec) {
			s.Mounts[8].Type = "bind"
			s.Mounts[8].Options = append(s.Mounts[8].Options, "bind")
		},
		"another's namespace": func(s *specs.Spec) { s.Linux.Namespaces[0].Path = "/proc/1/ns/pid" },
		"the sandbox's pids":  func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] },
		"no filter":           func(s *specs.Spec) { s.Linux.Seccomp = nil },
		"a capability more": func(s *specs.Spec) {
			s.Process.Capabilities.Bounding = append(caps(), "CAP_SYS_ADMIN")
		},
	} {
		s := deepCopy(t, Config(addedParams()))
		if err := Check(s); err != nil {
			t.Fatalf("before the change: %v", err)
		}
		if change(s); Check(s) == nil {
			t.Errorf("%s: is accepted", name)
		}
		if data, err := Encode(s); err == nil {
			t.Errorf("%s: is encoded as %s", name, data)
		}
	}
}

// TestInvariants checks, over the cross product of the options, that every configuration passes
// Check and a few independent checks.
func TestInvariants(t *testing.T) {
	n := 0
	for _, root := range []string{EROFS, Directory} {
		for _, guest := range []string{EROFS, Directory} {
			for _, cgroup := range []string{"", "/jobs/x"} {
				for _, shm := range []int64{0, 1, 1 << 40} {
					for _, tmp := range []int64{1, 100 * job.MiB} {
						for _, pids := range []int{1, 1 << 20} {
							p := params(EROFS)
							p.Root.Kind, p.Guest.Kind, p.Cgroup = root, guest, cgroup
							p.SharedMemory, p.Limits.Tmp, p.Limits.PIDs = shm, tmp, pids
							s := Config(p)
							name := fmt.Sprintf("%s/%s/%q/%d/%d/%d", root, guest, cgroup, shm, tmp, pids)
							if err := Check(s); err != nil {
								t.Errorf("%s: %v", name, err)
							}
							binds := 0
							for _, m := range s.Mounts {
								if m.Type == "bind" {
									binds++
								}
								if m.Type == "tmpfs" &&
									!strings.Contains(strings.Join(m.Options, ","), "noexec,size=") {
									t.Errorf("%s: %v", name, m)
								}
								if m.Destination == "/dev/shm" && shm == 0 {
									t.Errorf("%s: /dev/shm is writable", name)
								}
							}
							if (binds == 1) != (guest == Directory) {
								t.Errorf("%s: %d host directories are mounted", name, binds)
							}
							if s.Linux.Devices != nil || s.Linux.Resources != nil || s.Hooks != nil ||
								len(s.Process.Env) != 2 {
								t.Errorf("%s: devices, resources, hooks or environment", name)
							}
							if s.Process.Rlimits[0].Hard > uint64(pids) {
								t.Errorf("%s: NPROC %d", name, s.Process.Rlimits[0].Hard)
							}
							n++
						}
					}
				}
			}
		}
	}
	if n < 90 {
		t.Errorf("only %d combinations", n)
	}
}

// TestCheckRefuses changes one value of a valid configuration at a time.
func TestCheckRefuses(t *testing.T) {
	tests := map[string]func(s *specs.Spec){
		"writable root":     func(s *specs.Spec) { s.Root.Readonly = false },
		"relative root":     func(s *specs.Spec) { s.Root.Path = "root" },
		"root of the host":  func(s *specs.Spec) { s.Root.Path = "/" },
		"unclean root":      func(s *specs.Spec) { s.Root.Path = "/var/lib/../../etc" },
		"another hostname":  func(s *specs.Spec) { s.Hostname = "host.example" },
		"a domain name":     func(s *specs.Spec) { s.Domainname = "example" },
		"hooks":             func(s *specs.Spec) { s.Hooks = &specs.Hooks{} },
		"a virtual machine": func(s *specs.Spec) { s.VM = &specs.VM{} },
		"an annotation of an image": func(s *specs.Spec) {
			s.Annotations = map[string]string{"dev.gvisor.flag.debug": "true"}
		},
		"a third annotation": func(s *specs.Spec) {
			erofs(s)
			s.Annotations["dev.gvisor.spec.mount.a.share"] = "pod"
		},
		"a writable overlay": func(s *specs.Spec) {
			erofs(s)
			s.Annotations["dev.gvisor.spec.rootfs.overlay"] = "self"
		},
		"container of another": func(s *specs.Spec) {
			erofs(s)
			s.Annotations[annotationSandbox] = strings.Repeat("a", 30)
		},
		"another root type":        func(s *specs.Spec) { erofs(s); s.Annotations[annotationType] = "bind" },
		"relative image":           func(s *specs.Spec) { erofs(s); s.Annotations[annotationSource] = "image" },
		"a directory beside erofs": func(s *specs.Spec) { erofs(s); s.Root.Path = "/etc" },
		"another user":             func(s *specs.Spec) { s.Process.User.UID = 1 },
		"another group":            func(s *specs.Spec) { s.Process.User.GID = 1 },
		"additional groups":        func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0} },
		"another command":          func(s *specs.Spec) { s.Process.Args = []string{"/bin/sh"} },
		"arguments":                func(s *specs.Spec) { s.Process.Args = append(s.Process.Args, "-x") },
		"an environment":           func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "LD_PRELOAD=/tmp/x") },
		"the image's /etc/passwd":  func(s *specs.Spec) { s.Process.Env = nil },
		"another cwd":              func(s *specs.Spec) { s.Process.Cwd = "/proc/self/fd/8" },
		"a terminal":               func(s *specs.Spec) { s.Process.Terminal = true },
		"new privileges":           func(s *specs.Spec) { s.Process.NoNewPrivileges = false },
		"no capabilities field":    func(s *specs.Spec) { s.Process.Capabilities = nil },
		"one bounding more": func(s *specs.Spec) {
			s.Process.Capabilities.Bounding = append(caps(), "CAP_SYS_ADMIN")
		},
		"another effective": func(s *specs.Spec) {
			s.Process.Capabilities.Effective = append(caps()[1:], "CAP_NET_RAW")
		},
		"one permitted less":  func(s *specs.Spec) { s.Process.Capabilities.Permitted = caps()[1:] },
		"inheritable":         func(s *specs.Spec) { s.Process.Capabilities.Inheritable = caps() },
		"ambient":             func(s *specs.Spec) { s.Process.Capabilities.Ambient = caps() },
		"low oom score":       func(s *specs.Spec) { low := -900; s.Process.OOMScoreAdj = &low },
		"inherited oom score": func(s *specs.Spec) { s.Process.OOMScoreAdj = nil },
		"no rlimits":          func(s *specs.Spec) { s.Process.Rlimits = nil },
		"no tasks":            func(s *specs.Spec) { s.Process.Rlimits[0].Soft = 0 },
		"soft over hard":      func(s *specs.Spec) { s.Process.Rlimits[1].Soft = 1 << 40 },
		"unlimited files":     func(s *specs.Spec) { s.Process.Rlimits[2].Hard = 1<<64 - 1 },
		"core files":          func(s *specs.Spec) { s.Process.Rlimits[3].Hard = 1 },
		"a rlimit twice": func(s *specs.Spec) {
			s.Process.Rlimits = append(s.Process.Rlimits, s.Process.Rlimits[0])
		},
		"another rlimit": func(s *specs.Spec) { s.Process.Rlimits[0].Type = "RLIMIT_MEMLOCK" },
		"a host directory": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "bind", Source: "/etc"})
		},
		"a mount twice":            func(s *specs.Spec) { s.Mounts = append(s.Mounts, s.Mounts[4]) },
		"a mount missing":          func(s *specs.Spec) { s.Mounts = s.Mounts[1:] },
		"unclean destination":      func(s *specs.Spec) { s.Mounts[4].Destination = "/tmp/" },
		"tmpfs as bind":            func(s *specs.Spec) { s.Mounts[4].Type = "bind" },
		"source of a tmpfs":        func(s *specs.Spec) { s.Mounts[4].Source = "/var" },
		"tmpfs without a size":     func(s *specs.Spec) { s.Mounts[4].Options = s.Mounts[4].Options[:3] },
		"tmpfs of size 0":          func(s *specs.Spec) { s.Mounts[4].Options[3] = "size=0" },
		"tmpfs of negative size":   func(s *specs.Spec) { s.Mounts[4].Options[3] = "size=-1" },
		"tmpfs of half the memory": func(s *specs.Spec) { s.Mounts[4].Options[3] = "size=50%" },
		"tmpfs of two sizes":       func(s *specs.Spec) { s.Mounts[4].Options = append(s.Mounts[4].Options, "size=0") },
		"executable /tmp":          func(s *specs.Spec) { s.Mounts[4].Options[2] = "exec" },
		"devices in /output":       func(s *specs.Spec) { s.Mounts[5].Options[1] = "dev" },
		"writable /code":           func(s *specs.Spec) { s.Mounts[6].Options[4] = "mode=0777" },
		"writable /sys":            func(s *specs.Spec) { s.Mounts[1].Options[3] = "rw" },
		"writable guest":           func(s *specs.Spec) { s.Mounts[8].Options[0] = "rw" },
		"relative guest":           func(s *specs.Spec) { s.Mounts[8].Source = "guest" },
		"the host as guest":        func(s *specs.Spec) { s.Mounts[8].Source = "/" },
		"id-mapped mount":          func(s *specs.Spec) { s.Mounts[4].UIDMappings = []specs.LinuxIDMapping{{Size: 1}} },
		"the host's network":       func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:4] },
		"another's network":        func(s *specs.Spec) { s.Linux.Namespaces[4].Path = "/proc/1/ns/net" },
		"a user namespace": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		},
		"devices":                    func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/sda"}} },
		"resources":                  func(s *specs.Spec) { s.Linux.Resources = &specs.LinuxResources{} },
		"sysctl":                     func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.x": "1"} },
		"mount propagation":          func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" },
		"relative cgroup":            func(s *specs.Spec) { s.Linux.CgroupsPath = "jobs/x" },
		"cgroup outside":             func(s *specs.Spec) { s.Linux.CgroupsPath = "/jobs/../../system.slice" },
		"no filter":                  func(s *specs.Spec) { s.Linux.Seccomp = nil },
		"a filter that lets through": func(s *specs.Spec) { s.Linux.Seccomp.DefaultAction = specs.ActAllow },
		"a filter that traces":       func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Action = specs.ActTrace },
		"a filter with a listener":   func(s *specs.Spec) { s.Linux.Seccomp.ListenerPath = "/run/x" },
		"an empty filter":            func(s *specs.Spec) { s.Linux.Seccomp.Syscalls = nil },
		"no process":                 func(s *specs.Spec) { s.Process = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s := deepCopy(t, Config(params(Directory)))
			if err := Check(s); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			change(s)
			if Check(s) == nil {
				t.Error("is accepted")
			}
			dir := t.TempDir()
			if Write(dir, s) == nil {
				t.Error("is written")
			}
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("left %v", entries)
			}
		})
	}
	if Check(nil) == nil {
		t.Error("nil is accepted")
	}
}

// erofs gives s a root of the other kind.
func erofs(s *specs.Spec) {
	s.Root.Path = unusedRoot
	s.Annotations = map[string]string{annotationSource: "/image", annotationType: EROFS}
}

func caps() []string { return append([]string(nil), capabilities...) }

// deepCopy copies through JSON, which is also what runsc reads.
func deepCopy(t *testing.T, s *specs.Spec) *specs.Spec {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out := new(specs.Spec)
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	s := Config(params(EROFS))
	if err := Write(dir, s); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back specs.Spec
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if err := Check(&back); err != nil {
		t.Errorf("what was written: %v", err)
	}
	if Write(dir, s) == nil {
		t.Error("a file that is there is overwritten")
	}

	// A link of that name is not followed.
	witness := filepath.Join(t.TempDir(), "witness")
	linked := t.TempDir()
	if err := os.Symlink(witness, filepath.Join(linked, "config.json")); err != nil {
		t.Fatal(err)
	}
	if Write(linked, s) == nil {
		t.Error("a link is followed")
	}
	if _, err := os.Stat(witness); !os.IsNotExist(err) {
		t.Errorf("the link's target: %v", err)
	}
	if Write(filepath.Join(dir, "missing"), s) == nil {
		t.Error("a directory is made")
	}
}
