package runsc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/tests/need"
)

// ourSentry is the path of our sentry binary.
func ourSentry(t *testing.T) string {
	t.Helper()
	path := os.Getenv("TSUBO_SENTRY")
	need.That(t, "sentry", path != "")
	return path
}

// status returns some lines of a /proc status file, without their tabs.
func status(t *testing.T, file string, keys ...string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		if key, _, _ := strings.Cut(line, ":"); slices.Contains(keys, key) {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, "\n")
}

// nobody is the required status of every sandbox thread: a user that owns nothing, no capability,
// seccomp filters, and no way to gain privileges by an exec.
const nobody = `Uid: 65534 65534 65534 65534
Gid: 65534 65534 65534 65534
Groups:
CapInh: 0000000000000000
CapPrm: 0000000000000000
CapEff: 0000000000000000
CapBnd: 0000000000000000
CapAmb: 0000000000000000
NoNewPrivs: 1
Seccomp: 2`

// number matches the part in which two descriptors of the same kind differ.
var number = regexp.MustCompile(`[0-9]+`)

// TestNobody checks our sentry binary, which becomes the sandbox's user without executing itself
// again (tools/sentry/runsc.patch). The result must equal runsc's: every thread is nobody in an
// empty root without /proc, and no descriptor is open that runsc has closed.
func TestNobody(t *testing.T) {
	sentry := ourSentry(t)
	root, guest := trees(t, bundle.EROFS)
	open := map[string]map[string]int{}
	for _, with := range []string{"", sentry} {
		open[with] = map[string]int{}
		t.Setenv("TSUBO_SENTRY", with)
		r := real(t)
		b := boot(t, r, root, guest)
		b.ask(t, "hello")
		pids := b.processes(t, r)
		if !slices.Contains(pids, b.pid) {
			t.Fatalf("the processes %v lack %d", pids, b.pid)
		}
		threads := 0
		for _, pid := range pids {
			dir := filepath.Join("/proc", strconv.Itoa(pid))
			files, err := filepath.Glob(dir + "/task/*/status")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				got := status(t, file, "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
					"NoNewPrivs", "Seccomp")
				if got != nobody && got != "" {
					t.Errorf("%q, %s:\n%s", with, file, got)
				}
				if got != "" {
					threads++
				}
			}
		}
		if threads < 4 {
			t.Errorf("%q: %d threads seen", with, threads)
		}
		dir := filepath.Join("/proc", strconv.Itoa(b.pid))
		if info, err := os.Stat(dir); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Errorf("%q: not dumpable, as it is after an exec: %v %v", with, info, err)
		}
		if env, err := os.ReadFile(filepath.Join(dir, "environ")); err != nil || strings.Contains(string(env), "GO") {
			t.Errorf("%q: environment %q of the command's (%v)", with, env, err)
		}
		if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err != nil || cwd != "/" {
			t.Errorf("%q: works in %q (%v)", with, cwd, err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "root", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if file != filepath.Join(dir, "root/etc/localtime") {
				t.Errorf("%q: its root has %s", with, file)
			}
		}
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if what, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil {
				open[with][number.ReplaceAllString(what, "N")]++
			}
		}
	}
	for what, n := range open[sentry] {
		if n > open[""][what] {
			t.Errorf("%d of %q are open with ours, %d with runsc alone", n, what, open[""][what])
		}
	}
}

// TestSentryStart checks that our sentry binary first empties its bounding set and makes room for
// 256 descriptors (tools/sentry/start_*.s). The test uses the child that unmounts /proc once it has
// read a byte. Here the child reads EOF and unmounts nothing.
func TestSentryStart(t *testing.T) {
	sentry := ourSentry(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("the entry point is Go's on this architecture")
	}
	need.Root(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), sentry, "umount", "--sync-fd=3", "/proc")
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	const want = "FDSize: 256\nCapBnd: 0000000000000000"
	var got string
	for end := time.Now().Add(30 * time.Second); got != want && time.Now().Before(end); time.Sleep(time.Millisecond) {
		got = status(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "FDSize", "CapBnd")
	}
	_ = w.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("at the end of the pipe: %v, want status 1", err)
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
