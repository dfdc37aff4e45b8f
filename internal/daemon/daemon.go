package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/keys"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/pool"
	"github.com/tsubo-run/tsubo/scheduler"
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
	run := &runner{pool: d.pool, images: imageLeases{catalogue}, log: log,
		environment: func(jobType string) map[string]string { return d.rules.Load().Types[jobType].Environment }}
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
