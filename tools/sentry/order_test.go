package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestUmountComesFirst: what unmounts /proc is over before the packages of runsc that take their time are initialised. Here it reads the end
// where it waits for a byte; the mount namespace of its own is for the day when that fails.
func TestUmountComesFirst(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "umount", "--sync-fd=3", "/proc")
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	cmd.ExtraFiles = []*os.File{null}
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "init os ") {
		t.Errorf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "gvisor.dev/gvisor/pkg/sentry") {
		t.Errorf("initialised before: %s", out)
	}
}
