package daemon

import (
	"log/slog"
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
