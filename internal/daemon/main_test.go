package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/tests/need"
)

func TestCheckConfigChecksAccess(t *testing.T) {
	cfg := configured(t, "server_host: 0.0.0.0\n")
	var said strings.Builder
	if status := Main([]string{"tsubod", "--config", cfg.File, "--check-config"},
		io.MultiWriter(&said)); status != exitRefused || !strings.Contains(said.String(), "server_host") {
		t.Errorf("status %d, said %q", status, said.String())
	}
	said.Reset()
	cfg = configured(t, "")
	if status := Main([]string{"tsubod", "--config", cfg.File, "--check-config", "--tcp"},
		&said); status != exitRefused || !strings.Contains(said.String(), "every user of this host") {
		t.Errorf("status %d, said %q", status, said.String())
	}
}

// The limit is hard, so no child of the daemon can raise it again.
func TestNoCoreDumps(t *testing.T) {
	if err := noCoreDumps(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Hc; ulimit -Sc").Output()
	if err != nil || string(out) != "0\n0\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestRefusesOthersPaths checks that the daemon refuses a run_dir that other users can write,
// before it changes anything: they could exchange bundles.
func TestRefusesOthersPaths(t *testing.T) {
	dir := need.RootDir(t)
	run := filepath.Join(dir, "run")
	file := filepath.Join(dir, "tsubo.yaml")
	text := fmt.Sprintf("data_dir: %s/data\nrun_dir: %s\nrunsc_path: /nowhere/runsc\n", dir, run)
	err := errors.Join(os.Mkdir(run, 0o750), os.Chown(run, 1234, 0), os.WriteFile(file, []byte(text), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if status := Main([]string{"tsubod", "--config", file}, &said); status != exitRefused ||
		!strings.Contains(said.String(), "field run_dir: ") ||
		!strings.Contains(said.String(), "uid 1234") {
		t.Errorf("status %d, %q", status, said.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("data_dir was made")
	}
}
