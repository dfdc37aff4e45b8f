package runsc

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper starts a process that says args of itself.
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
	other := sleeper(t, "runsc-sandbox", root, "boot", "--bundle=/b/11", "id").Process.Pid
	for _, args := range [][]string{
		{"runsc-sandbox", "--root=/elsewhere", "boot", "--bundle=/b/1"},
		{"runsc", root, "run", "--bundle=/b/1"},
		{"cat", root, "--bundle=/b/1"},
	} {
		sleeper(t, args...)
	}
	for _, test := range []struct {
		bundle string
		want   []int
	}{
		{"/b/1", []int{sandbox, gofer}},
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
	all := []int{sandbox, gofer, other}
	slices.Sort(all)
	if got, err := r.AllProcesses(); err != nil || !slices.Equal(got, all) {
		t.Errorf("all: %v, %v; want %v", got, err, all)
	}
}

func TestKillProcesses(t *testing.T) {
	r := faked(t, "true")
	child := sleeper(t) // a child is killed as it is
	if err := r.KillProcesses(t.Context(), "/b/1", child.Process.Pid, 1<<22+1); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(child.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the child: %v", err)
	}

	// A process that is neither a child nor a sandbox: whoever has the pid now.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil { // another test may have set it
		t.Fatal(err)
	}
	bystander := exec.Command("/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
	out, err := bystander.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	for _, c := range out[:len(out)-1] {
		pid = pid*10 + int(c-'0')
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if err := r.KillProcesses(t.Context(), "", pid); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the bystander: %v", err)
	}
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
