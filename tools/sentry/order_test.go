package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gvisor.dev/gvisor/runsc/cmd/sandboxsetup"
)

// noTests, in the environment, has this binary end where its tests would begin: as what unmounts /proc it must never come that far.
const noTests = "TSUBO_NO_TESTS"

func TestMain(m *testing.M) {
	if os.Getenv(noTests) != "" {
		return
	}
	os.Exit(m.Run())
}

// TestUmountComesFirst: runsc starts what unmounts /proc in the way that package umount knows, and that is over before the packages of runsc
// that take their time are initialised. Nothing is unmounted: instead of the byte it waits for, it reads the end.
func TestUmountComesFirst(t *testing.T) {
	t.Setenv(noTests, "1")
	t.Setenv("GODEBUG", "inittrace=1")
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = said.Close() }()
	stderr := os.Stderr
	os.Stderr = said
	cmd, sync := sandboxsetup.ExecProcUmounter()
	os.Stderr = stderr
	if err := sync.Close(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	out, readErr := os.ReadFile(said.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	initialised := strings.Split(string(out), "\n")
	has := func(prefix string) bool {
		return slices.ContainsFunc(initialised, func(line string) bool { return strings.HasPrefix(line, prefix) })
	}
	if cmd.ProcessState.ExitCode() != 1 || !has("init os ") || has("init gvisor.dev/gvisor/pkg/sentry") {
		t.Errorf("%v after: %s", err, out)
	}
}
