package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/pool"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/sandbox"
	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/seccomp"
	"github.com/tsubo-run/tsubo/store"
)

// Daemon is a tsubod serving in this process.
type Daemon struct {
	cfg    *config.Config
	log    *slog.Logger
	store  *store.Store
	keys   *keys.File
	images *images.Catalogue
	pool   *pool.Pool
	sched  *scheduler.Scheduler
	server *api.Server
	http   *http.Server
	undo   undo
	failed chan error
	ready  atomic.Bool

	// Replaced by Reload.
	rules     atomic.Pointer[api.Policy]
	retention atomic.Pointer[store.Retention]

	keeping sync.Mutex // held by keepWaiting
}

// runtimeName is the name of the runtime in records.
const runtimeName = "runsc"

// drainBound limits how long running jobs may continue after a stop. httpBound then limits how long
// responses may take to reach their callers.
const (
	drainBound = 30 * time.Second
	httpBound  = 5 * time.Second
)

// Start starts a daemon and returns once it serves. leaves is nil on a degraded host. The Daemon
// owns leaves, even if Start fails. On error everything is undone.
func Start(ctx context.Context, cfg *config.Config, leaves *limits.Tree, log *slog.Logger) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, log: log, failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.undo.run())
		}
	}()
	if leaves != nil {
		d.undo.push(leaves.Close)
	}
	if err := d.openAccess(cfg); err != nil {
		return nil, err
	}
	if err := d.setRules(cfg); err != nil {
		return nil, err
	}
	if err := d.openStore(ctx, cfg); err != nil {
		return nil, err
	}
	roots, catalogue, err := d.openImages(ctx, cfg, leaves)
	if err != nil {
		return nil, err
	}
	d.images = catalogue
	host, err := d.makeHost(ctx, cfg, leaves, roots)
	if err != nil {
		return nil, err
	}
	warm, err := d.prove(ctx, cfg, host, roots)
	if err != nil {
		return nil, err
	}
	if err := catalogue.Preload(ctx, cfg.Images.PreloadDirs); err != nil {
		log.Error("preload images", "error", err)
	}
	d.readAhead(ctx, roots)
	if len(catalogue.List()) == 0 {
		log.Warn("no image yet: jobs will be refused until one is imported", "fix",
			"tsubo images import PATH --name python")
	}
	if err := d.openPool(cfg, host, warm); err != nil {
		return nil, err
	}
	run := &runner{pool: d.pool, images: catalogue, log: log, environment: func(jobType string) map[string]string {
		return d.rules.Load().Types[jobType].Environment
	}}
	d.undo.push(run.close)
	if err := d.startJobs(ctx, cfg, run); err != nil {
		return nil, err
	}
	d.keepWaiting()
	if err := d.serve(cfg, catalogue); err != nil {
		return nil, err
	}
	d.ready.Store(true)
	return d, nil
}

// imageMemory is memory.max, in bytes, of the leaf of a process that unpacks or writes an image. It
// covers the process's data ([rootfs.Limits]) and the page cache of files that it writes.
const imageMemory = 1536 * job.MiB

// imageLeaf returns a function that creates the leaf of a process that handles an image.
func imageLeaf(leaves *limits.Tree) func(context.Context) (*os.File, func() error, error) {
	return func(ctx context.Context) (*os.File, func() error, error) {
		id := make([]byte, 8)
		_, _ = rand.Read(id) // never fails (crypto/rand)
		leaf, err := leaves.Create(ctx, "image-"+hex.EncodeToString(id),
			limits.Boot{Memory: imageMemory, CPU: float64(runtime.NumCPU()), Tasks: 256, Background: true})
		if err != nil {
			return nil, nil, err
		}
		return leaf.Dir(), func() error { return leaf.Remove(context.Background()) }, nil
	}
}

func (d *Daemon) openImages(ctx context.Context, cfg *config.Config,
	leaves *limits.Tree) (*rootfs.Store, *images.Catalogue, error) {
	options := rootfs.Options{MkfsErofs: cfg.MkfsErofsPath, Logger: d.log}
	if leaves != nil {
		options.Leaf = imageLeaf(leaves)
	}
	var err error
	if options.IDBase, err = rootfs.FreeIDs("/etc"); err != nil {
		return nil, nil, err
	}
	roots, err := rootfs.Open(filepath.Join(cfg.DataDir, "rootfs"), options)
	if err != nil {
		return nil, nil, err
	}
	d.undo.push(roots.Close)
	if version, kind, why := roots.Tool(); kind != rootfs.EROFS {
		d.log.Warn("roots are directories, slower and served by a gofer process", "mkfs.erofs", version, "why", why)
	}
	catalogue, err := images.Open(filepath.Join(cfg.DataDir, "images"), roots, images.Options{Logger: d.log})
	return roots, catalogue, err
}

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

// prove runs the canary. A wrong answer is fatal in both modes: permissive mode waives resource
// limits, never isolation. warm reports whether empty sandboxes may be used. They have a canary of
// their own: a wrong answer is fatal, but a canary that cannot run is not, since jobs can boot
// without them.
func (d *Daemon) prove(ctx context.Context, cfg *config.Config, host *sandbox.Host,
	roots *rootfs.Store) (warm bool, err error) {
	root, err := d.keptRoot(ctx, roots, canaryKey, canaryTree())
	if err != nil {
		return false, fmt.Errorf("build the canary's root: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, canaryBound)
	defer cancel()
	start := time.Now()
	if err := d.ask(ctx, host.Canary, root); err != nil {
		return false, err
	}
	if cfg.Pool.Enabled && cfg.Pool.WarmMax > 0 {
		err := d.ask(ctx, host.CanaryWarm, root)
		var wrong *sandbox.CanaryError
		switch {
		case errors.As(err, &wrong):
			return false, fmt.Errorf("empty sandboxes: %w", err)
		case err != nil:
			d.log.Warn("no empty sandboxes will wait (warm_max): they cannot be used here", "error", err)
		}
		warm = err == nil
	}
	d.log.Info("self-test passed: sandboxes hold", "runsc", host.Runsc.Path, "warm", warm, "took",
		time.Since(start).Round(time.Millisecond))
	return warm, nil
}

type canary func(ctx context.Context, root rootfs.Root, l job.Limits) error

// ask runs a canary, and repeats it if it does not answer: only an answer is evidence.
func (d *Daemon) ask(ctx context.Context, c canary, root rootfs.Root) (err error) {
	for range canaryTries {
		if err = c(ctx, root, canaryLimits()); !errors.Is(err, sandbox.ErrSilent) {
			break
		}
		d.log.Warn("self-test", "error", err)
	}
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

const (
	// canaryBound limits the self-test; under emulation a first boot takes seconds.
	canaryBound = 4 * time.Minute
	canaryTries = 3
)

func canaryLimits() job.Limits {
	task := job.Rlimit{Soft: 20, Hard: 20}
	return job.Limits{
		Memory: 64 * job.MiB, CPU: 1, PIDs: 20, NProc: task, NoFile: job.Rlimit{Soft: 64, Hard: 64}, FSize: job.MiB,
		Tmp: job.MiB, Output: job.MiB, Stdout: 64 << 10, Stderr: 64 << 10, Artifact: job.MiB, ArtifactsTotal: job.MiB,
		Artifacts: 10,
	}
}

// Failed returns a channel that receives an error if the daemon cannot continue.
func (d *Daemon) Failed() <-chan error { return d.failed }

// Close stops the daemon. It admits no new jobs and gives running jobs drainBound, or until hurry
// ends, before it interrupts them. Then it undoes everything that Start did. It must be called only
// once.
func (d *Daemon) Close(hurry context.Context) error {
	d.ready.Store(false)
	// Jobs first: their responses still need the server.
	err := d.stopJobs(hurry)
	return errors.Join(err, d.undo.run())
}

// undo is a stack of undo steps.
type undo struct{ steps []func() error }

func (u *undo) push(f func() error) { u.steps = append(u.steps, f) }

// run runs every step, newest first, and joins the errors.
func (u *undo) run() error {
	var errs []error
	for len(u.steps) > 0 {
		last := len(u.steps) - 1
		step := u.steps[last]
		u.steps = u.steps[:last]
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}
