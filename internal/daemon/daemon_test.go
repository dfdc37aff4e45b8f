package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/sandbox"
)

func TestMain(m *testing.M) {
	rootfs.MaybeChild()
	goleak.VerifyTestMain(m,
		// Package signal and database/sql keep these goroutines for the life of the process.
		goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

var quiet = slog.New(slog.DiscardHandler)

// configured loads a configuration with these lines.
func configured(t *testing.T, lines string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "tsubo.yaml")
	text := "data_dir: " + dir + "/data\nrun_dir: " + dir + "/run\nmemory_budget: 2g\n" + lines
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// bare returns a daemon with rules and records but no host.
func bare(t *testing.T, cfg *config.Config) *Daemon {
	t.Helper()
	d := &Daemon{cfg: cfg, log: quiet, failed: make(chan error, 2)}
	cfg.Pool.Enabled = false
	for _, step := range []error{d.openAccess(cfg), d.setRules(cfg), d.openStore(t.Context(), cfg),
		d.openPool(cfg, &sandbox.Host{Runsc: &runsc.Runsc{}}, false)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	t.Cleanup(func() {
		if err := d.undo.run(); err != nil {
			t.Error(err)
		}
	})
	return d
}
