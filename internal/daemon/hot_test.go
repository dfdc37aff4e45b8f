package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/tests/need"
)

// TestHotJobsExecuteNothing: over 100 jobs that find a sandbox waiting, the daemon executes nothing between request and answer (design.md,
// decision 1). It could not: this process is kept from forking meanwhile, so that what tried would stand still until the request's bound.
func TestHotJobsExecuteNothing(t *testing.T) {
	cfg, image := realConfig(t, fmt.Sprintf("pool_min: %d\npool_max: %[1]d\n", hotWaiting)), pythonImage(t)
	d, err := Start(t.Context(), cfg, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := d.images.ImportLayout(t.Context(), "python", image); err != nil {
		t.Fatal(err)
	}
	d.keepWaiting()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	for served := 0; served < 100; served += hotWaiting {
		for full := time.Now().Add(3 * time.Minute); d.waiting().HotWaiting < hotWaiting; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(full) {
				t.Fatalf("after %d jobs: the pool does not fill: %+v", served, d.waiting())
			}
		}
		without(t, func() {
			for range hotWaiting {
				hot(t, client)
			}
		})
	}
}

const hotWaiting = 8

// without runs f while no goroutine of this process can fork.
func without(t *testing.T, f func()) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f()
}

// hot is one job that finds a sandbox waiting.
func hot(t *testing.T, client *http.Client) {
	t.Helper()
	answer, err := client.Post("http://tsubo/execute", "application/json", strings.NewReader(`{"code":"print(6*7)"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var result struct {
		Stdout string
		Timing struct{ Sandbox string }
	}
	if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
		t.Fatal(err)
	}
	if result.Stdout != "42\n" || result.Timing.Sandbox != "hot" {
		t.Fatalf("%s: %+v", answer.Status, result)
	}
}

// pythonImage is the layout of the Python image.
func pythonImage(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("TSUBO_PYTHON_IMAGE"), "../../build/images/python", "/opt/tsubo/images/python"} {
		if _, err := os.Stat(filepath.Join(dir, "oci-layout")); dir != "" && err == nil {
			return dir
		}
	}
	need.That(t, "python-image", false)
	return ""
}

// realConfig is that of a permissive daemon with the real runsc and tsubo-init, in a folder of its own.
func realConfig(t *testing.T, lines string) *config.Config {
	t.Helper()
	need.Root(t)
	runsc, init := program("TSUBO_RUNSC", "runsc"), program("TSUBO_INIT", "tsubo-init")
	need.That(t, "runsc", runsc != "" && init != "")
	dir, err := os.MkdirTemp("", "tsubo") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // layers are unpacked by another user
		t.Fatal(err)
	}
	text := fmt.Sprintf("data_dir: %[1]s/data\nrun_dir: %[1]s/run\nmemory_budget: 2g\nsecurity_mode: permissive\nrunsc_path: %[2]s\ninit_path: %[3]s\n%[4]s",
		dir, runsc, init, lines)
	path := filepath.Join(dir, "tsubo.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(dir + "/tsubo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// program is the path that the variable has, or of the program on PATH; "" when there is none.
func program(variable, name string) string {
	path := os.Getenv(variable)
	if path == "" {
		path, _ = exec.LookPath(name)
	}
	return path
}
