package limits

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is its own helper: what TSUBO_TEST_HELPER names runs instead of the tests.
const helperEnv = "TSUBO_TEST_HELPER"

var helpers = map[string]func(args []string) error{
	"sleep":     sleep,
	"hog":       hog,
	"forks":     forks,
	"spin":      spin,
	"device":    device,
	"enter":     enterAndStay,
	"enterfail": enterAndFail,
	"tree":      func([]string) error { return enterAndExec(os.Args[1:]) },
}

func TestMain(m *testing.M) {
	name, args, _ := strings.Cut(os.Getenv(helperEnv), " ")
	if name == "" || (name == "tree" || name == "enter") && InStage2() {
		if name == "enter" {
			name = "stay"
		} else {
			os.Exit(m.Run())
		}
	}
	f := helpers[name]
	if name == "stay" {
		f = stay
	}
	if err := f(strings.Fields(args)); err != nil {
		say("error: " + err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// say writes one line to the parent of the helper.
func say(line string) { fmt.Println(line) }

func sleep([]string) error {
	say("ready")
	for {
		_ = unix.Pause()
	}
}

func spin([]string) error {
	say("ready")
	for {
		runtime.KeepAlive(nil)
	}
}

// hog touches 128 MiB and reports it.
func hog([]string) error {
	b, err := unix.Mmap(-1, 0, 128<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = byte(i) | 1
	}
	say("survived")
	return nil
}

// forks starts sleeping processes until it cannot, and reports how it ended.
func forks([]string) error {
	for i := range 100_000 {
		pid, err := syscall.ForkExec("/proc/self/exe", os.Args[:1], &syscall.ProcAttr{Env: []string{helperEnv + "=sleep", "GOMAXPROCS=1"}})
		if err != nil {
			say(fmt.Sprintf("%d forks, then %v", i, err))
			return nil
		}
		_ = pid
	}
	return errors.New("never refused")
}

// device opens /dev/null and makes a node for the same device.
func device([]string) error {
	f, err := os.Open("/dev/null")
	if err == nil {
		_ = f.Close()
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("null.%d", os.Getpid()))
	errNode := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	_ = os.Remove(path)
	say(fmt.Sprintf("open %t mknod %t", errors.Is(err, unix.EPERM), errors.Is(errNode, unix.EPERM)))
	return nil
}

// enterAndExec is a daemon's stage 1 for the subtree that FindSubtree names for TSUBO_TEST_PARENT.
func enterAndExec(argv []string) error {
	subtree, err := FindSubtree(os.Getenv("TSUBO_TEST_PARENT"))
	if err != nil {
		return err
	}
	e, err := Enter(context.Background(), subtree)
	if err != nil {
		return err
	}
	for range 8 { // a real daemon has goroutines on other threads
		go func() { runtime.LockOSThread(); select {} }()
	}
	keep, err := os.CreateTemp("", "keep")
	if err != nil {
		return err
	}
	_ = os.Remove(keep.Name())
	env := append(os.Environ(), fmt.Sprintf("TSUBO_TEST_KEEP=%d", keep.Fd()), fmt.Sprintf("TSUBO_TEST_PID=%d", os.Getpid()))
	return e.Exec(append(os.Args[:1:1], argv...), env, keep)
}

// enterAndStay becomes a daemon that does nothing until its stdin ends or it is killed.
func enterAndStay([]string) error { return enterAndExec(nil) }

// stay is stage 2 of enterAndStay: it makes a leaf with a process in it, a nested cgroup with
// another, and one beside itself.
func stay([]string) error {
	t, err := Open()
	if err != nil {
		return err
	}
	l, err := t.Create(context.Background(), "left", Boot{Memory: 256 << 20, CPU: 1, Tasks: 10})
	if err != nil {
		return err
	}
	nested, err := l.d.mkdir("nested")
	if err != nil {
		return err
	}
	daemon, err := t.root.sub(daemonDir)
	if err != nil {
		return err
	}
	pids := ""
	for _, d := range []*dir{l.d, nested, daemon} {
		cmd, err := startIn(d, "sleep")
		if err != nil {
			return err
		}
		pids += fmt.Sprintf(" %d", cmd.Process.Pid)
	}
	say("ready" + pids)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// enterAndFail reports what is left of a failed Enter.
func enterAndFail([]string) error {
	state := func() string {
		own, err := ownCgroup()
		var strays []string
		tasks, _ := filepath.Glob("/proc/self/task/*/ns/cgroup")
		home, _ := os.Readlink("/proc/self/ns/cgroup")
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != home {
				strays = append(strays, ns)
			}
		}
		return fmt.Sprintf("%s %v %v", own, err, strays)
	}
	before := state()
	_, err := Enter(context.Background(), os.Getenv("TSUBO_TEST_PARENT"))
	if err == nil {
		return errors.New("entered")
	}
	after := state()
	for range 100 { // the thread ends just after its goroutine
		if after == before {
			break
		}
		time.Sleep(10 * time.Millisecond)
		after = state()
	}
	say(fmt.Sprintf("before=%q after=%q err=%v", before, after, err))
	return nil
}

// startIn starts a helper in a cgroup (the root of the test's view for nil), and waits for its
// first line if it is one that stays.
func startIn(d *dir, helper string, env ...string) (*exec.Cmd, error) {
	cmd, out := command(d, helper, env...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		return nil, errors.Join(fmt.Errorf("helper %s said %q: %w", helper, line, err), cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, nil
}

func command(d *dir, helper string, env ...string) (*exec.Cmd, io.Reader) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), helperEnv+"="+helper, "GOMAXPROCS=1"), env...)
	cmd.Stderr = os.Stderr
	if d != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.f.Fd())}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	return cmd, out
}

// run runs a helper in a cgroup to its end and returns its output.
func run(t *testing.T, d *dir, helper string, env ...string) (string, error) {
	t.Helper()
	cmd, out := command(d, helper, env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out)
	return strings.TrimSpace(string(b)), errors.Join(err, cmd.Wait())
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
