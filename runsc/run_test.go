package runsc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// faked returns a Runsc whose binary is the script.
func faked(t *testing.T, script string) *Runsc {
	t.Helper()
	path, top := fake(t, script)
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.UseRoot(filepath.Join(top, "r")); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunFake(t *testing.T) {
	const pidFile = `for a; do case $a in --pid-file=*) f=${a#*=};; esac; done; `
	big := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name, script string
		pid          int
		err          string
	}{
		{"another program", pidFile + `printf $PPID >"$f"`, 0, "instead of"},
		{"pid of nobody", pidFile + `printf 4194305 >"$f"`, 0, "executes"},
		{"no pid file", "true", 0, "pid file"},
		{"empty pid file", pidFile + `: >"$f"`, 0, "no pid"},
		{"pid of init", pidFile + `printf 1 >"$f"`, 0, "no pid"},
		{"pid with junk", pidFile + `printf '4242\n' >"$f"`, 0, "no pid"},
		{"fails", "false", 0, "exit status 1"},
		{
			"fails with a word", `echo '{"msg":"no such image","level":"error"}' >&3; exit 128`, 0,
			"exit status 128: no such image",
		},
		{"fails with junk", `echo broken >&3; exit 2`, 0, "exit status 2: broken"},
		{
			"fails with many words", `i=0; while [ $i -lt 200 ]; do echo ` + big + `; i=$((i+1)); done >&3; exit 2`,
			0, "exit status 2: xxx",
		},
		{"killed", "kill -9 $$", 0, "killed"},
		{"leaves a child that holds the log", "sleep 5 & exit 3", 0, "exit status 3"},
		{"sees the daemon's environment", `[ -z "$TSUBO_SECRET" ] || exit 9; exit 7`, 0, "exit status 7"},
		{
			"is in the daemon's session", `set -- $(cat /proc/$$/stat); [ "$6" = $$ ] || exit 9; exit 7`, 0,
			"exit status 7",
		},
		{"works elsewhere", `[ "$(pwd)" = / ] || exit 9; exit 7`, 0, "exit status 7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TSUBO_SECRET", "canary")
			r := faked(t, test.script)
			pid, err := r.Run(t.Context(), RunOpts{ID: "a", Bundle: t.TempDir()})
			if pid != test.pid || (err == nil) != (test.err == "") ||
				err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%d, %v; want %d, %q", pid, err, test.pid, test.err)
			}
			if err != nil && len(err.Error()) > 2*maxComplaints {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// TestRunStale checks that the pid of an earlier sandbox in the same bundle is never returned for a
// new sandbox.
func TestRunStale(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pid"), []byte("4242"), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid, err := faked(t, "true").Run(t.Context(), RunOpts{ID: "a", Bundle: dir}); err == nil {
		t.Errorf("pid %d", pid)
	}
}

func TestRunHangs(t *testing.T) {
	r := faked(t, "exec sleep 600")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("took too long"))
	defer cancel()
	_, err := r.Run(ctx, RunOpts{ID: "a", Bundle: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "took too long") {
		t.Errorf("error %v", err)
	}
}

// TestRunDaemonKilled checks that a runsc command does not outlive a killed daemon. Otherwise it
// would still run while the next daemon sweeps.
func TestRunDaemonKilled(t *testing.T) {
	if dir := os.Getenv("TSUBO_TEST_RUN"); dir != "" { // the daemon
		_, err := faked(t, "echo $$ >"+dir+"/command; exec sleep 600").Run(t.Context(), RunOpts{ID: "a", Bundle: dir})
		t.Fatal(err)
	}
	dir := t.TempDir()
	daemon := exec.Command(os.Args[0], "-test.run=^TestRunDaemonKilled$")
	daemon.Env = append(os.Environ(), "TSUBO_TEST_RUN="+dir)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	within(t, "the command starts", func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "command"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
		}
		return err == nil
	})
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	within(t, "the command ends", func() bool {
		state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err != nil || strings.Contains(string(state), ") Z ") // gone, or a zombie of its new parent
	})
}

// within polls until holds returns true.
func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	r := faked(t, "true")
	for _, id := range []string{
		"", "-a", "--network=host", "a/b", "../a", "a b", "a*", "a\x00", "a\n", "a_b", "a:b", "é",
		strings.Repeat("a", 65),
	} {
		if _, err := r.Run(t.Context(), RunOpts{ID: id, Bundle: t.TempDir()}); err == nil ||
			!strings.Contains(err.Error(), "sandbox id") {
			t.Errorf("id %q: error %v", id, err)
		}
		if r.RemoveState(id) == nil {
			t.Errorf("id %q: its state is removed", id)
		}
		if _, err := r.GoferPID(id); err == nil {
			t.Errorf("id %q: has a gofer", id)
		}
	}
	for _, bundle := range []string{"", "b", "/b/", "/b/../c", "./b"} {
		if _, err := r.Run(t.Context(), RunOpts{ID: "a", Bundle: bundle}); err == nil ||
			!strings.Contains(err.Error(), "bundle") {
			t.Errorf("bundle %q: error %v", bundle, err)
		}
	}
	long := filepath.Join(r.Root, strings.Repeat("d", 100-len(r.Root)))
	if err := r.UseRoot(long); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context(), RunOpts{ID: "a", Bundle: t.TempDir()}); err == nil ||
		!strings.Contains(err.Error(), "socket") {
		t.Errorf("root of %d bytes: error %v", len(long), err)
	}
	if _, err := new(Runsc).Run(t.Context(), RunOpts{ID: "a", Bundle: "/b"}); err == nil ||
		!strings.Contains(err.Error(), "UseRoot") {
		t.Errorf("no root: error %v", err)
	}
}
