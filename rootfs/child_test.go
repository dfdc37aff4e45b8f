package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

// probe is a step that only this test binary knows: it sets itself up as unpack does and reports
// what it then can do.
func probe() int {
	runtime.LockOSThread()
	var b strings.Builder
	report := func() error {
		if err := inOwnUserNamespace(); err != nil {
			return err
		}
		limits := Limits{}.withDefaults()
		if err := limitSelf(limits); err != nil {
			return err
		}
		score, err := os.ReadFile("/proc/self/oom_score_adj")
		fmt.Fprintf(&b, "oom_score_adj %s", score)
		if err != nil {
			return err
		}
		thread, err := os.Open("/proc/thread-self/status") // before the chroot takes /proc away
		if err != nil {
			return err
		}
		host, err := os.Open("/")
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, "host has", len(names(host)) > 5)
		host.Close()                                             //nolint:errcheck,gosec // only read
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // while the filter lets it
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, "connect:", unix.Connect(s, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}))
		if err := confine(unix.CAP_CHOWN); err != nil {
			return err
		}
		root, err := os.Open("/")
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, "root has", strings.Join(names(root), " "))
		up, err := os.Open("/../../..")
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, "above root is", strings.Join(names(up), " "))
		status := make([]byte, 8192)
		n, err := thread.ReadAt(status, 0)
		if n == 0 {
			return err
		}
		for line := range strings.SplitSeq(string(status[:n]), "\n") {
			for _, key := range []string{"CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Groups:", "Uid:"} {
				if strings.HasPrefix(line, key) {
					fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
				}
			}
		}
		fmt.Fprintln(&b, "chroot again:", unix.Chroot("/"))
		fmt.Fprintln(&b, "mount:", unix.Mount("x", "/", "tmpfs", 0, ""))
		fmt.Fprintln(&b, "mknod:", unix.Mknod("/null", unix.S_IFCHR, int(unix.Mkdev(1, 3))))
		fmt.Fprintln(&b, "pid", os.Getpid())
		for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_CPU, unix.RLIMIT_NOFILE, unix.RLIMIT_NPROC, unix.RLIMIT_FSIZE, unix.RLIMIT_DATA} {
			var l unix.Rlimit
			if err := unix.Getrlimit(r, &l); err != nil {
				return err
			}
			fmt.Fprintln(&b, "rlimit", r, l.Cur, l.Max)
		}
		for name, call := range refusedCalls {
			_, _, errno := unix.RawSyscall6(call.number, call.args[0], call.args[1], call.args[2], 0, 0, 0)
			fmt.Fprintf(&b, "%s: %v\n", name, errno)
		}
		return os.WriteFile("/report", []byte(b.String()), 0o644) //nolint:gosec // read by the test
	}
	a := answer{OK: true}
	if err := report(); err != nil {
		a = answer{Message: err.Error()}
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return 1
	}
	return 0
}

// refusedCalls are system calls that the filter takes from a child, and that would not fail with
// EPERM without it.
var refusedCalls = map[string]struct {
	number uintptr
	args   [3]uintptr
}{
	"socket":          {unix.SYS_SOCKET, [3]uintptr{unix.AF_UNIX, unix.SOCK_STREAM, 0}},
	"io_uring_setup":  {unix.SYS_IO_URING_SETUP, [3]uintptr{1, 0, 0}},
	"userfaultfd":     {unix.SYS_USERFAULTFD, [3]uintptr{1 << 30, 0, 0}},
	"keyctl":          {unix.SYS_KEYCTL, [3]uintptr{0, ^uintptr(2), 0}},
	"ptrace":          {unix.SYS_PTRACE, [3]uintptr{0, 0, 0}},
	"memfd_create":    {unix.SYS_MEMFD_CREATE, [3]uintptr{0, 0, 0}},
	"inotify":         {unix.SYS_INOTIFY_INIT1, [3]uintptr{0, 0, 0}},
	"ioctl":           {unix.SYS_IOCTL, [3]uintptr{0, unix.TIOCSTI, 0}},
	"clone namespace": {unix.SYS_CLONE, [3]uintptr{unix.CLONE_NEWUTS | unix.CLONE_SIGHAND, 0, 0}}, // CLONE_SIGHAND alone: EINVAL
	"prctl":           {unix.SYS_PRCTL, [3]uintptr{unix.PR_GET_DUMPABLE, 0, 0}},
	"setrlimit":       {unix.SYS_PRLIMIT64, [3]uintptr{0, unix.RLIMIT_NOFILE, 1}}, // a bad address: EFAULT
	"execve":          {unix.SYS_EXECVE, [3]uintptr{0, 0, 0}},
}

func names(d *os.File) []string {
	all, err := d.Readdirnames(-1)
	if err != nil {
		return []string{err.Error()}
	}
	return all
}

func TestChildIsConfined(t *testing.T) {
	need.Root(t)
	s := openStore(t, Options{MkfsErofs: noTool})
	dir := t.TempDir()
	if err := os.Chown(dir, 1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "only"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	work, err := os.Open(dir) //nolint:gosec // a test's own
	if err != nil {
		t.Fatal(err)
	}
	defer work.Close() //nolint:errcheck // a directory
	if _, err := s.child(context.Background(), "probe", work, nil, request{}, false); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "report")) //nolint:gosec // a test's own
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	for _, want := range []string{
		"host has true\n", "root has only\n", "above root is only\n",
		"CapInh: 0000000000000000\n", "CapPrm: 0000000000000001\n", "CapEff: 0000000000000001\n", "CapAmb: 0000000000000000\n",
		"NoNewPrivs: 1\n", "Groups:\n", "Uid: 0 0 0 0\n",
		"chroot again: operation not permitted\n", "mount: operation not permitted\n", "mknod: operation not permitted\n",
		"pid 1\n", "rlimit 4 0 0\n", "rlimit 0 600 600\n", "rlimit 7 1024 1024\n", "rlimit 6 256 256\n",
		"connect: network is unreachable\n", "Seccomp: 2\n", "oom_score_adj 500\n",
		"rlimit 1 9730785280 9730785280\n", "rlimit 2 1073741824 1073741824\n",
	} {
		if raceEnabled && strings.HasPrefix(want, "rlimit 2 ") {
			continue // see limitSelf
		}
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
	for name := range refusedCalls {
		if want := name + ": operation not permitted\n"; !strings.Contains(got, want) {
			t.Errorf("missing %q in:\n%s", want, got)
		}
	}
}

// The child refuses to do anything as the host's root.
func TestChildOutsideOfAUserNamespace(t *testing.T) {
	for _, step := range []string{"unpack", "mkfs", "verify", "", "x"} {
		cmd := exec.Command("/proc/self/exe", childName, step) //nolint:gosec // this test
		cmd.Stdin = strings.NewReader("{}")
		out, err := cmd.Output()
		var a answer
		if jerr := json.Unmarshal(out, &a); jerr != nil || err == nil || a.OK || !strings.Contains(a.Message, "user namespace") {
			t.Errorf("%q: %v, %s", step, err, out)
		}
	}
}

// A user namespace whose root is the host's root is none.
func TestChildInANamespaceThatIsNone(t *testing.T) {
	need.Root(t)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: idRange}}
	cmd := exec.Command("/proc/self/exe", childName, "verify") //nolint:gosec // this test
	cmd.Stdin = strings.NewReader("{}")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	if out, err := cmd.Output(); err == nil || !strings.Contains(string(out), "user namespace") {
		t.Errorf("%v, %s", err, out)
	}
}

func TestLeafThatCannotBeMade(t *testing.T) {
	need.Root(t)
	full := errors.New("no leaf")
	s := openStore(t, Options{MkfsErofs: noTool, Leaf: func(context.Context) (*os.File, func() error, error) { return nil, nil, full }})
	if _, err := s.Build(context.Background(), someKey, simple(t)); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	nothingLeft(t, s)
}

func TestStartError(t *testing.T) {
	for errno, kind := range map[syscall.Errno]error{unix.EPERM: ErrConfig, unix.ENOSPC: ErrConfig, unix.EUSERS: ErrConfig, unix.EINVAL: ErrConfig, unix.EACCES: ErrConfig} {
		err := startError(&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: errno})
		if !errors.Is(err, kind) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := startError(unix.ENOMEM); errors.Is(err, ErrConfig) {
		t.Errorf("out of memory is no configuration error: %v", err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"a\nb\n": "a | b", "\x1b[2J": `\u001b[2J`, "é": `\u00e9`, strings.Repeat("x", 5000): "…" + strings.Repeat("x", 1024)} {
		if got := printable(in, 1024); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
