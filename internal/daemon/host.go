package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/sandbox"
	"github.com/tsubo-run/tsubo/seccomp"
)

func (d *Daemon) makeHost(ctx context.Context, cfg *config.Config, leaves *limits.Tree,
	roots *rootfs.Store) (*sandbox.Host, error) {
	if err := runsc.BecomeSubreaper(); err != nil {
		return nil, err
	}
	stopCollecting := runsc.CollectOrphans()
	d.undo.push(func() error { stopCollecting(); return nil })
	bin, err := d.findRunsc(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := d.useSentry(ctx, cfg, bin); err != nil {
		return nil, err
	}
	if err := api.MakeDir(cfg.RunDir, cfg.SocketGroup); err != nil {
		return nil, fmt.Errorf("field run_dir: %w", err)
	}
	if err := bin.UseRoot(filepath.Join(cfg.RunDir, "runsc")); err != nil {
		return nil, err
	}
	bin.Flags.IgnoreCgroups = leaves == nil
	dir := owned.SandboxesDir(cfg)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("field run_dir: %w", err)
	}
	guest, err := d.guestImage(ctx, cfg, roots)
	if err != nil {
		return nil, err
	}
	empty, err := d.emptyRoot(ctx, roots)
	if err != nil {
		return nil, err
	}
	stock := netns.NewStock(cfg.MaxWorkers)
	d.undo.push(stock.Close)
	host := &sandbox.Host{
		Runsc: bin, Leaves: leaves, Netns: stock, Guest: guest, Empty: empty, Seccomp: seccomp.Profile(), Dir: dir,
		Log: d.log,
	}
	return host, host.Sweep(ctx)
}

// findRunsc finds the binary at runsc_path. It compares the binary with runsc_sha256 and the
// version with which tsubo is tested.
func (d *Daemon) findRunsc(ctx context.Context, cfg *config.Config) (*runsc.Runsc, error) {
	bin, err := runsc.Find(cfg.RunscPath)
	if err != nil {
		return nil, fmt.Errorf("field runsc_path: %w: install runsc there or name another one", err)
	}
	if want := cfg.RunscSHA256; want != "" && want != bin.SHA256() {
		return nil, fmt.Errorf(
			"field runsc_sha256: %s has sha256 %s, not %s: install the build that was pinned, or change the field",
			bin.Path, bin.SHA256(), want)
	}
	version, err := bin.Version(ctx)
	if err != nil {
		return nil, fmt.Errorf("field runsc_path: %w", err)
	}
	if runsc.Outdated(version) {
		d.log.Warn("runsc is older than the one that tsubo is tested with: update it", "path", bin.Path, "version",
			version,
			"tested", runsc.Pinned)
	}
	return bin, nil
}

// useSentry makes runsc boot sandboxes with the sentry beside tsubo-init, if one exists that
// matches this runsc.
func (d *Daemon) useSentry(ctx context.Context, cfg *config.Config, bin *runsc.Runsc) error {
	path := filepath.Join(filepath.Dir(cfg.InitPath), "gvisor-bin", "gvisor_sentry")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	switch err := bin.UseSentry(ctx, path); {
	case errors.Is(err, runsc.ErrSentry):
		d.log.Warn("sandboxes boot slower than they could", "why", err)
	case err != nil:
		return fmt.Errorf("the sentry beside init_path: %w: put it right or remove it", err)
	}
	return nil
}
