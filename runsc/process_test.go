package runsc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper starts a process with forged arguments.
func sleeper(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", "exec sleep 600"}, args...)...)
	if len(args) > 0 {
		cmd.Args = append([]string{args[0], "-c", "read line", "sh"}, args[1:]...)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestProcesses(t *testing.T) {
	r := faked(t, "true")
	root := "--root=" + r.Root
	sandbox := sleeper(t, "runsc-sandbox", root, "boot", "--bundle=/b/1", "id").Process.Pid
	gofer := sleeper(t, "runsc-gofer", root, "gofer", "--bundle", "/b/1", "--spec-fd=3").Process.Pid
	command := sleeper(t, r.Path, root, "run", "--bundle=/b/1").Process.Pid
	other := sleeper(t, "runsc-sandbox", root, "boot", "--bundle=/b/11", "id").Process.Pid
	for _, args := range [][]string{
		{"runsc-sandbox", "--root=/elsewhere", "boot", "--bundle=/b/1"},
		{"runsc", root, "run", "--bundle=/b/1"}, // not runsc's path: a foreign process
		{"cat", root, "--bundle=/b/1"},
	} {
		sleeper(t, args...)
	}
	for _, test := range []struct {
		bundle string
		want   []int
	}{
		{"/b/1", []int{sandbox, gofer, command}},
		{"/b/11", []int{other}},
		{"/b", nil},
		{"/b/1/", nil},
	} {
		got, err := r.Processes(test.bundle)
		slices.Sort(test.want)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, %v; want %v", test.bundle, got, err, test.want)
		}
	}
	all := []int{sandbox, gofer, command, other}
	slices.Sort(all)
	if got, err := r.AllProcesses(); err != nil || !slices.Equal(got, all) {
		t.Errorf("all: %v, %v; want %v", got, err, all)
	}
}

func TestKillProcesses(t *testing.T) {
	r := faked(t, "true")
	child := sleeper(t) // a child is killed without a check
	if err := r.KillProcesses(t.Context(), "/b/1", child.Process.Pid, 1<<22+1); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(child.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the child: %v", err)
	}

	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil { // another test may have set it
		t.Fatal(err)
	}
	// Neither a child nor a sandbox, so any process may own the pid now.
	bystander := orphan(t, "cat", "--root="+r.Root, "--bundle=/b/1")
	// Not a child, but a sandbox, as after a crash.
	left := orphan(t, "runsc-sandbox", "--root="+r.Root, "boot", "--bundle=/b/1")
	if err := r.KillProcesses(t.Context(), "/b/1", bystander, left); err != nil {
		t.Error(err)
	}
	if !running(bystander) {
		t.Error("the bystander is dead")
	}
	if running(left) {
		t.Error("what was left is alive when the call returns")
	}
}

// orphan starts a process with forged arguments that is not a child of this process.
func orphan(t *testing.T, args ...string) int {
	t.Helper()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/bash", append([]string{
		"-c", `exec -a "$0" sh -c "read line" sh "$@" <&3 >/dev/null 2>&1 & echo $!`,
	}, args...)...)
	cmd.ExtraFiles = []*os.File{in}
	out, err := cmd.Output()
	_ = in.Close()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // ends it
	within(t, "the orphan says its name", func() bool {
		cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return err == nil && strings.HasPrefix(string(cmdline), args[0]+"\x00")
	})
	return pid
}

// running reports whether pid has not exited.
func running(pid int) bool {
	state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(state), ") Z ")
}

func TestReap(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough"))
	defer cancel()
	alive := sleeper(t)
	if err := Reap(ctx, alive.Process.Pid); err == nil {
		t.Error("a process that lives is reaped")
	}
	if err := Reap(ctx, 1, 0, -1, 1<<22+1); err != nil {
		t.Errorf("what is no child: %v", err)
	}
	if err := alive.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Reap(t.Context(), alive.Process.Pid); err != nil {
			t.Error(err)
		}
	}
	if err := unix.Kill(alive.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after the reaping: %v", err)
	}
}
