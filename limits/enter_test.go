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
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func dupFD(f *os.File) (string, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	return strconv.Itoa(fd), err
}

// hostRoot is the whole hierarchy, in the tests of stage 1.
func hostRoot(t *testing.T) *dir {
	t.Helper()
	mount, err := findMount()
	if err != nil {
		t.Fatal(err)
	}
	root, err := openMount(mount)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.close() })
	return root
}

// cgroup makes a cgroup for one test at the top of the hierarchy and removes it with all that is in
// it.
func cgroup(t *testing.T, name string) *dir {
	t.Helper()
	root := hostRoot(t)
	d, err := root.mkdir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(removeChild(context.Background(), root, name), d.close()); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return d
}

func cleanSubtree(t *testing.T, name string) string {
	t.Helper()
	root := hostRoot(t)
	t.Cleanup(func() {
		if err := removeChild(context.Background(), root, name); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return "/" + name
}

// daemon starts "enter" for a subtree and waits until it is in stage 2. It returns the pids of the
// processes it left about.
func daemon(t *testing.T, in *dir, parent string) (*exec.Cmd, []int) {
	t.Helper()
	cmd, out := command(in, "enter", "TSUBO_TEST_PARENT="+parent)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	rest, ok := strings.CutPrefix(line, "ready")
	if !ok {
		t.Fatalf("the daemon said %q, %v", line, err)
	}
	var pids []int
	for _, f := range strings.Fields(rest) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return cmd, pids
}

// outside is everything about the hierarchy that a daemon must not change: values in the root and
// in a sibling, and the options of the mounts.
func outside(t *testing.T, sibling *dir) string {
	t.Helper()
	var all strings.Builder
	root := hostRoot(t)
	for _, d := range []*dir{root, sibling} {
		for _, name := range []string{"cgroup.subtree_control", "cgroup.max.descendants", "cpu.max", "memory.max", "pids.max", "cgroup.procs"} {
			if d == root && name == "cgroup.procs" {
				continue // kernel threads come and go
			}
			v, err := d.read(name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "%s/%s=%q\n", d.path, name, v)
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.Contains(line, "cgroup2") {
			all.WriteString(line + "\n")
		}
	}
	if !strings.Contains(all.String(), "nsdelegate") {
		t.Error("cgroup2 is mounted without nsdelegate: that a daemon leaves the options alone is not shown")
	}
	return all.String()
}

func TestEnterSweepsAfterACrash(t *testing.T) {
	requireCgroup2(t)
	subtree := cleanSubtree(t, "tsubo-crash")
	sibling := cgroup(t, "tsubo-sibling")
	bystander, err := startIn(sibling, "sleep")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	before := outside(t, sibling)

	first, pids := daemon(t, nil, subtree)
	if len(pids) != 3 {
		t.Fatalf("the daemon left %v, want a process in the leaf, below it and beside the daemon", pids)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	for _, pid := range pids {
		if !alive(pid) {
			t.Fatalf("process %d is gone before the sweep: it proves nothing", pid)
		}
	}
	second, _ := daemon(t, nil, subtree)
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if !alive(bystander.Process.Pid) {
		t.Error("a process outside the subtree was killed")
	}
	if after := outside(t, sibling); after != before {
		t.Errorf("outside the subtree something changed:\n%s\nwas\n%s", after, before)
	}
	_ = second.Process.Kill()
}

func TestSecondDaemonIsRefused(t *testing.T) {
	requireCgroup2(t)
	subtree := cleanSubtree(t, "tsubo-busy")
	_, pids := daemon(t, nil, subtree)
	var busy *BusyError
	if _, err := Enter(t.Context(), subtree); !errors.As(err, &busy) {
		t.Errorf("Enter = %v, want a BusyError", err)
	}
	if _, err := Enter(t.Context(), subtree); err == nil || !strings.Contains(err.Error(), subtree) || !strings.Contains(err.Error(), "cgroup_parent") {
		t.Errorf("Enter = %v: want the subtree and cgroup_parent in it", err)
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d of the first daemon was killed", pid)
		}
	}
}

func TestForeignSubtreeIsNotTouched(t *testing.T) {
	requireCgroup2(t)
	for name, where := range map[string]func(*testing.T, *dir) *dir{
		"a process in it": func(_ *testing.T, d *dir) *dir { return d },
		"a child of others": func(t *testing.T, d *dir) *dir {
			return mustMkdir(t, d, "other")
		},
		"jobs that tsubo did not make": func(t *testing.T, d *dir) *dir {
			return mustMkdir(t, d, jobsDir)
		},
		"an empty child of others": func(t *testing.T, d *dir) *dir {
			mustMkdir(t, d, "other")
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := cgroup(t, "tsubo-foreign")
			in := where(t, d)
			var p *exec.Cmd
			if in != nil {
				var err error
				if p, err = startIn(in, "sleep"); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
			}
			names, err := d.children()
			if err != nil {
				t.Fatal(err)
			}
			var foreign *ForeignError
			if _, err := Enter(t.Context(), "/tsubo-foreign"); !errors.As(err, &foreign) {
				t.Errorf("Enter = %v, want a ForeignError", err)
			}
			if p != nil && !alive(p.Process.Pid) {
				t.Error("the process was killed")
			}
			if now, err := d.children(); err != nil || !slices.Equal(now, names) {
				t.Errorf("children are %v, %v; were %v", now, err, names)
			}
		})
	}
}

func mustMkdir(t *testing.T, d *dir, name string) *dir {
	t.Helper()
	c, err := d.mkdir(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.close() })
	return c
}

func TestMissingControllersAreNamed(t *testing.T) {
	requireCgroup2(t)
	above := cgroup(t, "tsubo-poor")
	if err := above.write("cgroup.subtree_control", "+memory +cpu"); err != nil {
		t.Fatal(err)
	}
	for _, made := range []bool{false, true} {
		if made {
			mustMkdir(t, above, "sub")
		}
		h := Probe("/tsubo-poor/sub")
		var whats []string
		for _, m := range h.Missing() {
			whats = append(whats, m.What)
			if !strings.Contains(m.Fix, "/tsubo-poor/cgroup.subtree_control") {
				t.Errorf("fix of %q is %q", m.What, m.Fix)
			}
		}
		want := []string{"cgroup v2 controller cpuset", "cgroup v2 controller pids"}
		if !slices.Equal(whats, want) {
			t.Errorf("missing %q, want %q", whats, want)
		}
		var missing *MissingError
		if _, err := Enter(t.Context(), "/tsubo-poor/sub"); !errors.As(err, &missing) || len(missing.Missing) != 2 {
			t.Errorf("Enter = %v, want a MissingError of two", err)
		}
		if names, err := above.children(); err != nil || len(names) > 0 != made {
			t.Errorf("children %v, %v after a refusal", names, err)
		}
	}
}

// A failure after the move must leave the process where it was, all threads at home, and the
// subtree free for another attempt.
func TestFailedEnterGoesBack(t *testing.T) {
	requireCgroup2(t)
	for name, descendants := range map[string]string{"no daemon cgroup": "0", "no jobs cgroup": "1"} {
		t.Run(name, func(t *testing.T) {
			d := cgroup(t, "tsubo-full")
			if err := d.write("cgroup.max.descendants", descendants); err != nil {
				t.Fatal(err)
			}
			home := cgroup(t, "tsubo-home")
			out, err := run(t, home, "enterfail", "TSUBO_TEST_PARENT=/tsubo-full")
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := `before="/tsubo-home <nil> []" after="/tsubo-home <nil> []" err=enter cgroup subtree /tsubo-full: mkdir `
			if !strings.HasPrefix(out, want) {
				t.Errorf("%s\nwant %s", out, want)
			}
			if names, err := d.children(); err != nil || len(names) > 0 {
				t.Errorf("children %v, %v are left", names, err)
			}
			if err := d.write("cgroup.max.descendants", "max"); err != nil {
				t.Fatal(err)
			}
			daemon(t, nil, "/tsubo-full")
		})
	}
}

// As under systemd with Delegate=yes and ProtectControlGroups=yes: the daemon starts in its own
// delegated cgroup, its view of /sys/fs/cgroup is read-only, and the leftovers of a crash are in
// the cgroup that it starts in.
func TestDelegatedCgroup(t *testing.T) {
	requireCgroup2(t)
	unit := cgroup(t, "tsubo-unit.service")
	if err := unix.Fsetxattr(int(unit.f.Fd()), "trusted.delegate", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	mustMkdir(t, unit, ".control") // where ExecStartPost= ran
	jobs := mustMkdir(t, unit, jobsDir)
	if err := mark(jobs); err != nil {
		t.Fatal(err)
	}
	left, err := startIn(mustMkdir(t, jobs, "old"), "sleep")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = left.Wait() }()
	inPrivateMounts(t, func() {
		if err := unix.Mount("", "/sys/fs/cgroup", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Error(err)
			return
		}
		daemon(t, unit, "/not-used")
	})
	if alive(left.Process.Pid) {
		t.Error("a leftover process is alive")
	}
	for path, want := range map[string]bool{jobsDir + "/left": true, jobsDir + "/old": false, ".control": true} {
		if _, err := os.Stat(filepath.Join(unit.path, path)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %t", path, err, want)
		}
	}
}

// inPrivateMounts runs fn on a thread with a mount namespace of its own; what fn starts is in it.
func inPrivateMounts(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error, 1)
	onOwnThread(func() {
		defer close(done) // also when fn fails the test
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			fn()
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestTree runs, as a daemon in stage 2, what treeTests lists.
func TestTree(t *testing.T) {
	if os.Getenv("TSUBO_TEST_PID") != "" {
		testTree(t)
		return
	}
	requireCgroup2(t)
	subtree := cleanSubtree(t, "tsubo-test")
	cmd, out := command(nil, "tree", "TSUBO_TEST_PARENT="+subtree)
	cmd.Args = append(cmd.Args, "-test.run=^TestTree$", "-test.v", "-test.timeout=300s")
	if b := flagValue("test.run"); strings.HasPrefix(b, "TestTree/") {
		cmd.Args[1] = "-test.run=" + b
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(out)
	t.Logf("stage 2:\n%s", b)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Errorf("stage 2: %v", err)
	}
	for name := range treeTests {
		if flagValue("test.run") == "" && !strings.Contains(string(b), "--- PASS: TestTree/"+strings.ReplaceAll(name, " ", "_")) {
			t.Errorf("%q has not passed", name)
		}
	}
}

func flagValue(name string) string {
	for _, arg := range os.Args[1:] {
		if v, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), name+"="); ok {
			return v
		}
	}
	return ""
}
