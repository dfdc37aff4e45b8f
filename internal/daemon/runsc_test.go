package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/tests/need"
)

func TestFindRunscHoldsThePin(t *testing.T) {
	cfg := &config.Config{RunscPath: need.Runsc(t)}
	var log strings.Builder
	d := &Daemon{log: slog.New(slog.NewTextHandler(&log, nil))}
	bin, err := d.findRunsc(t.Context(), cfg)
	if err != nil || log.Len() > 0 {
		t.Fatalf("error %v, log %q", err, log.String())
	}
	cfg.RunscSHA256 = bin.SHA256()
	if _, err := d.findRunsc(t.Context(), cfg); err != nil {
		t.Error(err)
	}
	cfg.RunscSHA256 = strings.Repeat("0", 64)
	if _, err := d.findRunsc(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "field runsc_sha256") {
		t.Errorf("another file: error %v", err)
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
