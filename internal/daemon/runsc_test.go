package daemon

import (
	"log/slog"
	"os/exec"
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

// Nothing that the daemon starts may raise the limit again: it is hard.
func TestNoCoreDumps(t *testing.T) {
	if err := noCoreDumps(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Hc; ulimit -Sc").Output()
	if err != nil || string(out) != "0\n0\n" {
		t.Errorf("%q, %v", out, err)
	}
}
