package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/tests/need"
)

// TestHotExecs checks that over 100 jobs with idle sandboxes the daemon executes no process between
// request and response. This process is kept from forking meanwhile, so any attempt would block.
func TestHotExecs(t *testing.T) {
	const waiting = 8
	runsc, init := need.Runsc(t), os.Getenv("TSUBO_INIT")
	if init == "" {
		init, _ = exec.LookPath("tsubo-init")
	}
	need.That(t, "tsubo-init", init != "")
	image := pythonImage(t)
	cfg := configured(t, fmt.Sprintf(
		"security_mode: permissive\nrunsc_path: %s\ninit_path: %s\npool_min: %d\npool_max: %[3]d\n", runsc, init,
		waiting))
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
	c := client.New(cfg.Socket)
	defer c.Close()
	for served := 0; served < 100; served += waiting {
		for full := time.Now().Add(3 * time.Minute); d.waiting().HotWaiting < waiting; time.Sleep(
			10 * time.Millisecond) {
			if time.Now().After(full) {
				t.Fatalf("after %d jobs: the pool does not fill: %+v", served, d.waiting())
			}
		}
		func() {
			syscall.ForkLock.RLock()
			defer syscall.ForkLock.RUnlock()
			for range waiting {
				hotJob(t, c)
			}
		}()
	}
}

// hotJob runs a job, which must find an idle sandbox.
func hotJob(t *testing.T, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := c.Execute(ctx, client.Request{Code: "print(6*7)"})
	if err != nil {
		t.Fatal(err)
	}
	if tier := answer.Timing.Sandbox; answer.Stdout != "42\n" || tier == nil || *tier != "hot" {
		t.Fatalf("%+v", answer)
	}
}

// pythonImage returns the layout of the Python image.
func pythonImage(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("TSUBO_PYTHON_IMAGE"), "../../build/images/python",
		"/opt/tsubo/images/python"} {
		if _, err := os.Stat(filepath.Join(dir, "oci-layout")); dir != "" && err == nil {
			return dir
		}
	}
	need.That(t, "python-image", false)
	return ""
}
