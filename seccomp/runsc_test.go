package seccomp

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/tests/need"
)

// call mirrors the type of the same name in testdata/probe.
type call struct {
	Nr   uintptr  `json:"nr"`
	Args [6]int64 `json:"args"`
	Path string   `json:"path"`
}

const (
	page, path = -1000, -1001
	goarch     = runtime.GOARCH
)

// probeSandbox boots a sandbox that makes the calls, each batch in its own process with uid 1000,
// and returns their errnos in order. filtered selects whether the filter is active; nothing else
// differs.
func probeSandbox(t *testing.T, filtered bool, batches [][]call) []syscall.Errno {
	t.Helper()
	path := need.Runsc(t)
	bundle := t.TempDir()
	root := filepath.Join(bundle, "root")
	for _, dir := range []string{"tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", filepath.Join(root, "probe"), "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	caps := []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_CHOWN", "CAP_DAC_READ_SEARCH"}
	spec := specs.Spec{
		Version: "1.0.0",
		Root:    &specs.Root{Path: root, Readonly: true},
		Process: &specs.Process{
			Args: []string{"/probe"}, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1048576", "mode=1777"}},
		},
		Linux: &specs.Linux{
			Seccomp: Profile(),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.NetworkNamespace},
				{Type: specs.MountNamespace},
			},
		},
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(batches)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--root=" + filepath.Join(bundle, "state"),
		"--network=none",
		"--overlay2=none",
		"--directfs=false",
		"--ignore-cgroups",
		"--gofer-network-namespace=new",
	}
	if filtered {
		args = append(args, "--oci-seccomp")
	}
	if runsc.Emulated() {
		args = append(args, "--systrap-disable-syscall-patching")
	}
	cmd := exec.Command(path, append(args, "run", "--bundle="+bundle, "seccomp-"+strconv.Itoa(os.Getpid()))...)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("runsc run: %v\n%s%s", err, out.String(), stderr.String())
	}
	var got []syscall.Errno
	for line := range strings.Lines(out.String()) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("the probe said %q after %d answers\n%s", line, len(got), stderr.String())
		}
		got = append(got, syscall.Errno(n))
	}
	want := 0
	for _, b := range batches {
		want += len(b)
	}
	if len(got) != want {
		t.Fatalf("%d answers for %d calls\n%s", len(got), want, stderr.String())
	}
	return got
}

// table returns number and name of every system call that the real runsc knows.
func table(t *testing.T) (names []string, number map[string]uintptr) {
	t.Helper()
	out, err := exec.Command(need.Runsc(t), "help", "syscalls").Output()
	if err != nil {
		t.Fatalf("runsc help syscalls: %v", err)
	}
	number = map[string]uintptr{}
	native := false
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "linux/") {
			native = strings.TrimSpace(line) == "linux/"+goarch+":"
			continue
		}
		fields := strings.Fields(line)
		if !native || len(fields) < 2 {
			continue
		}
		if nr, err := strconv.Atoi(fields[0]); err == nil {
			names = append(names, fields[1])
			number[fields[1]] = uintptr(nr)
		}
	}
	if len(names) < 250 {
		t.Fatalf("only %d names in the table of runsc", len(names))
	}
	return names, number
}

// TestEmbeddedTable checks that Validate uses the table of the pinned runsc.
func TestEmbeddedTable(t *testing.T) {
	names, _ := table(t)
	embedded, _ := known(goarch)
	for _, name := range names {
		if !embedded[name] {
			t.Errorf("runsc knows %s, syscalls/%s.txt does not", name, goarch)
		}
		delete(embedded, name)
	}
	for name := range embedded {
		t.Errorf("syscalls/%s.txt has %s, runsc does not know it", goarch, name)
	}
}

// TestEverySyscall makes every system call of runsc's table with senseless arguments, with and
// without the filter. Calls that are not allowed return EPERM, and all others return the same as
// without the filter.
func TestEverySyscall(t *testing.T) {
	names, number := table(t)
	// Calls that would end or block their process, whatever their arguments.
	skip := map[string]bool{
		"exit":         true,
		"exit_group":   true,
		"rt_sigreturn": true,
		"pause":        true,
		"vfork":        true,
		"fork":         true,
	}
	allowed, some := map[string]bool{}, map[string]bool{}
	for _, rule := range Profile().Syscalls {
		if unimplemented(rule) {
			continue
		}
		for _, name := range rule.Names {
			allowed[name] = len(rule.Args) == 0
			some[name] = true
		}
	}
	var made []string
	var batches [][]call
	for _, name := range names {
		if skip[name] || some[name] && !allowed[name] {
			continue
		}
		made = append(made, name)
		batches = append(batches, []call{{Nr: number[name], Args: [6]int64{-1, -1, -1, -1, -1, -1}}})
	}
	// Most calls share a process. Only calls that change the process itself need their own, and
	// none is harmful.
	var all []call
	for _, b := range batches {
		all = append(all, b...)
	}
	with := probeSandbox(t, true, [][]call{all})
	without := probeSandbox(t, false, [][]call{all})
	differ := 0
	for i, name := range made {
		switch {
		case allowed[name] && with[i] != without[i]:
			t.Errorf("%s is allowed, but answers %q under the filter and %q without", name, with[i], without[i])
		case name == cloneByPointer && with[i] != unix.ENOSYS:
			t.Errorf("%s answers %q, want ENOSYS, at which C libraries fall back to clone", name, with[i])
		case name == cloneByPointer:
		case !allowed[name] && with[i] != unix.EPERM:
			t.Errorf("%s is not allowed, but answers %q", name, with[i])
		case !allowed[name] && without[i] != unix.EPERM:
			differ++
		}
	}
	if differ < 20 {
		t.Errorf("only %d refusals tell the filter from the sentry: the probe is blind", differ)
	}
}

// TestProbes makes the calls of the attack corpus and the edges of every argument condition.
func TestProbes(t *testing.T) {
	const ok = syscall.Errno(0)
	type probe struct {
		name          string
		call          call
		with, without syscall.Errno
	}
	nr := func(n uintptr, args ...int64) call {
		c := call{Nr: n}
		copy(c.Args[:], args)
		return c
	}
	at := func(p string, c call) call { c.Path = p; return c }
	const (
		high     = 1 << 32 // garbage above the 32 bits that the kernel reads
		newUser  = unix.CLONE_NEWUSER
		sigChild = 17
	)
	probes := []probe{
		{"A07 mount", at("/tmp", nr(unix.SYS_MOUNT, path, path, path, 0, 0)), unix.EPERM, unix.EPERM},
		{"A09 chroot", at("/tmp", nr(unix.SYS_CHROOT, path)), unix.EPERM, unix.EPERM},
		{"A08 open_tree", at("/", nr(unix.SYS_OPEN_TREE, unix.AT_FDCWD, path, 0)), unix.EPERM, ok},
		{"A11 pidfd_getfd", nr(unix.SYS_PIDFD_GETFD, -1, 0, 0), unix.EPERM, unix.EBADF},
		{"A13 io_uring_setup", nr(unix.SYS_IO_URING_SETUP, 1, page), unix.EPERM, unix.ENOSYS},
		{"A13 remap_file_pages", nr(unix.SYS_REMAP_FILE_PAGES), unix.EPERM, unix.ENOSYS},
		{"A13 personality READ_IMPLIES_EXEC", nr(unix.SYS_PERSONALITY, 0x400000), unix.EPERM, unix.EINVAL},
		{"personality query", nr(unix.SYS_PERSONALITY, 0xffffffff), ok, ok},
		{"A14 x32 getpid", nr(0x40000000 + 39), unix.EPERM, unix.ENOSYS},
		{"A14 x32 execve", nr(0x40000000 + 59), unix.EPERM, unix.ENOSYS},
		{"A16 seccomp SET_MODE_FILTER", nr(unix.SYS_SECCOMP, 1, 0, 0), unix.EPERM, unix.EFAULT},
		{"A16 prctl SET_SECCOMP", nr(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 2, 0), unix.EPERM, unix.EFAULT},
		{
			"A16 prctl SET_SECCOMP, high bits",
			nr(unix.SYS_PRCTL, unix.PR_SET_SECCOMP|high, 2, 0),
			unix.EPERM,
			unix.EFAULT,
		},
		{"prctl SET_SECUREBITS", nr(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0), unix.EPERM, unix.EPERM},
		{"prctl SET_MM", nr(unix.SYS_PRCTL, unix.PR_SET_MM, 0, 0), unix.EPERM, unix.EPERM},
		{"prctl SET_PTRACER", nr(unix.SYS_PRCTL, unix.PR_SET_PTRACER, 0), unix.EPERM, ok},
		{"prctl SET_NAME", at("x", nr(unix.SYS_PRCTL, unix.PR_SET_NAME, path)), ok, ok},
		{"prctl GET_DUMPABLE, high bits", nr(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE|high), ok, ok},
		{"clone NEWUSER", nr(unix.SYS_CLONE, newUser|sigChild|unix.CLONE_THREAD), unix.EPERM, unix.EINVAL},
		{"clone bad thread", nr(unix.SYS_CLONE, unix.CLONE_THREAD), unix.EINVAL, unix.EINVAL},
		{
			"B05 mknodat block",
			at("/tmp/b", nr(unix.SYS_MKNODAT, unix.AT_FDCWD, path, unix.S_IFBLK|0o600, 8<<8)),
			unix.EPERM,
			unix.EPERM,
		},
		{
			"B05 mknodat whiteout",
			at("/tmp/w", nr(unix.SYS_MKNODAT, unix.AT_FDCWD, path, unix.S_IFCHR, 0)),
			unix.EPERM,
			ok,
		},
		{
			"mknodat regular",
			at("/tmp/r", nr(unix.SYS_MKNODAT, unix.AT_FDCWD, path, unix.S_IFREG|0o600, 0)),
			unix.EPERM,
			ok,
		},
		{"mkfifo", at("/tmp/f", nr(unix.SYS_MKNODAT, unix.AT_FDCWD, path, unix.S_IFIFO|0o600, 0)), ok, ok},
		{"socket unix", nr(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0), ok, ok},
		{
			"socket tcp",
			nr(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0),
			ok,
			ok,
		},
		{"socket udp6", nr(unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_DGRAM, 0), ok, ok},
		{"socket tcp6", nr(unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, 0), ok, ok},
		{
			"C04 socket raw6",
			nr(unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
			unix.EPERM,
			unix.EPERM,
		},
		{"socket route", nr(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0), ok, ok},
		{"C04 socket raw", nr(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), unix.EPERM, unix.EPERM},
		{"C04 socket packet", nr(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_DGRAM, 0), unix.EPERM, unix.EPERM},
		{
			"C04 socket uevent",
			nr(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT),
			unix.EPERM,
			ok,
		},
		{"socket alg", nr(unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0), unix.EPERM, unix.EAFNOSUPPORT},
		{
			"socket packet, high bits",
			nr(unix.SYS_SOCKET, unix.AF_PACKET|high, unix.SOCK_DGRAM, 0),
			unix.EPERM,
			unix.EPERM,
		},
		{"A03 setuid 0", nr(unix.SYS_SETUID, 0), unix.EPERM, unix.EPERM},
		{"A03 setgroups", nr(unix.SYS_SETGROUPS, 1, page), unix.EPERM, unix.EPERM},
	}
	for _, p := range Discriminating() {
		c := call{Nr: p.Number}
		for i, a := range p.Args {
			c.Args[i] = int64(a)
		}
		probes = append(probes, probe{"A02 " + p.Name, c, p.Filtered, p.Unfiltered})
	}
	var batches [][]call
	for _, p := range probes {
		batches = append(batches, []call{p.call})
	}
	with, without := probeSandbox(t, true, batches), probeSandbox(t, false, batches)
	for i, p := range probes {
		if with[i] != p.with {
			t.Errorf("%s: %q under the filter, want %q", p.name, with[i], p.with)
		}
		if without[i] != p.without {
			t.Errorf("%s: %q without the filter, want %q", p.name, without[i], p.without)
		}
	}
}
