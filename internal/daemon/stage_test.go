package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/tests/need"
)

// Strict mode reports everything that is missing at once, one line for each thing.
func TestRefuseNamesEveryMissingThing(t *testing.T) {
	cfg := &config.Config{SecurityMode: config.Strict, RunscPath: "/nowhere/runsc", InitPath: "/nowhere/tsubo-init"}
	err := refuse(cfg, []limits.Missing{{What: "cgroup v2 controller memory", Fix: "boot with it"},
		{What: "cgroup v2 controller pids", Fix: "boot with it"}})
	if err == nil {
		t.Fatal("nothing was refused")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4:\n%v", len(lines), err)
	}
	for i, part := range []string{"controller memory: boot with it", "controller pids: boot with it",
		"field runsc_path", "field init_path"} {
		if !strings.Contains(lines[i], part) {
			t.Errorf("line %q does not say %q", lines[i], part)
		}
	}
}

// A daemon without cgroups gets more CPU than a sandbox if it owns its session, and changes no
// other session.
func TestPreferSession(t *testing.T) {
	const inside = "TSUBO_TEST_PREFER_SESSION"
	if os.Getenv(inside) != "" {
		before, err := os.ReadFile("/proc/self/autogroup")
		if err != nil {
			t.Fatal(err)
		}
		cfg := &config.Config{SecurityMode: config.Permissive, DataDir: t.TempDir(), CgroupParent: "/no/such/cgroup"}
		if len(limits.Probe(cfg.CgroupParent).Missing()) == 0 {
			t.Fatal("a cgroup that does not exist is missed by nobody")
		}
		tree, lock, err := enter(t.Context(), cfg, quiet)
		if err != nil || tree != nil {
			t.Fatal(tree, err)
		}
		defer func() { _ = lock.Close() }()
		after, err := os.ReadFile("/proc/self/autogroup")
		fmt.Println("changed:", string(before) != string(after),
			strings.HasSuffix(strings.TrimSpace(string(after)), " nice -10"), err)
		return
	}
	need.Root(t)
	if _, err := os.Stat("/proc/self/autogroup"); err != nil {
		t.Skip("this kernel does not share the CPU out by session")
	}
	for _, tt := range []struct {
		attr *syscall.SysProcAttr
		want string
	}{
		{&syscall.SysProcAttr{Setsid: true}, "changed: true true <nil>"},
		{&syscall.SysProcAttr{Setpgid: true}, "changed: false false <nil>"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPreferSession$")
		cmd.Env, cmd.SysProcAttr = append(os.Environ(), inside+"=1"), tt.attr
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("want %q, got %v: %s", tt.want, err, out)
		}
	}
}
