package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/store"
)

// stateDir is the directory below data_dir of records, artifacts and API keys.
const stateDir = "state"

// purgeEvery is the interval of regular purges.
const purgeEvery = time.Hour

// purgePause is the minimum time between two purges.
const purgePause = time.Second

// openStore opens the store and starts the purge loop.
func (d *Daemon) openStore(ctx context.Context, cfg *config.Config) error {
	records, err := store.Open(ctx, store.Config{Dir: filepath.Join(cfg.DataDir, stateDir), Log: d.log})
	if err != nil {
		return fmt.Errorf("field data_dir: %w", err)
	}
	d.store = records
	records.SetRetention(*d.retention.Load())
	d.undo.push(records.Close)

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.purge(background)
	}()
	d.undo.push(func() error { stop(); <-done; return nil })
	return nil
}

// purge removes records beyond the retention at start, every purgeEvery, and after a write that
// exceeds the limits, until ctx ends.
func (d *Daemon) purge(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		gone, err := d.store.Purge(ctx, *d.retention.Load())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.log.Error("purge records", "error", err)
		case gone != job.PurgeResult{}:
			d.log.Info("purged", "records", gone.Records, "dead letters", gone.DeadLetters, "artifacts", gone.Artifacts)
		}
		select {
		case <-tick.C:
		case <-d.store.Over():
		case <-ctx.Done():
			return
		}
		select { // many writes cause at most one purge per purgePause
		case <-time.After(purgePause):
		case <-ctx.Done():
			return
		}
	}
}

// startJobs starts the scheduler, which recovers the stored jobs of an earlier daemon.
func (d *Daemon) startJobs(ctx context.Context, cfg *config.Config, r scheduler.Runner) (err error) {
	d.sched, err = scheduler.New(scheduler.Options{
		Runner: r,
		Store:  d.store,
		Resolve: func(rec *job.Record, req *job.Request) (*job.Spec, error) {
			return d.rules.Load().Spec(req, rec.ID, rec.Caller)
		},
		RetryOnInterrupt: func(jobType string) bool { return d.rules.Load().Types[jobType].RetryOnInterrupt },
		Budget:           cfg.MemoryBudget,
		Allowance:        limits.Allowance,
		Room:             d.pool.SetRoom,
		Workers:          cfg.MaxWorkers,
		Queue:            cfg.MaxQueueSize,
		MaxTries:         cfg.Keeping.Attempts,
		RetryDelay:       cfg.Keeping.RetryDelay,
		QueueTTL:         cfg.Keeping.QueueTTL,
		Runtime:          runtimeName,
		Log:              d.log,
	})
	if err != nil {
		return err
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	d.undo.push(func() error { return d.stopJobs(now) })
	return d.sched.Start(ctx)
}

// stopJobs lets running jobs continue for drainBound, or until hurry ends, then interrupts them.
func (d *Daemon) stopJobs(hurry context.Context) error {
	ctx, cancel := context.WithTimeout(hurry, drainBound)
	defer cancel()
	return d.sched.Stop(ctx)
}

// setRules applies the configuration of jobs, callers and retention.
func (d *Daemon) setRules(cfg *config.Config) error {
	rules := d.policy(cfg)
	if d.server != nil {
		if err := d.server.SetPolicy(rules); err != nil {
			return err
		}
	}
	d.rules.Store(&rules)
	keep := store.Retention{
		Records: cfg.Keeping.RecordTTL, DeadLetters: cfg.Keeping.DLQTTL, CallerBytes: cfg.Keeping.QuotaBytes,
		TotalBytes: cfg.Keeping.TotalBytes,
	}
	d.retention.Store(&keep)
	if d.store != nil {
		d.store.SetRetention(keep)
	}
	return nil
}

// Reload applies a configuration as far as a running daemon can, and logs the keys that need a
// restart. On error nothing has changed.
func (d *Daemon) Reload(cfg *config.Config) error {
	warnings, err := cfg.CheckAccess(len(d.keys.List()) > 0)
	if err != nil {
		return err
	}
	for _, t := range cfg.Types() {
		if need := max(t.Limits.Memory, t.MaxMemory) + limits.Allowance; need > d.cfg.MemoryBudget {
			return errors.New("field job_types: '" + t.Name +
				"' needs more memory than the memory_budget that the daemon started with: restart it")
		}
	}
	if err := d.setRules(cfg); err != nil {
		return err
	}
	d.keepWaiting()
	for _, w := range append(warnings, cfg.Warnings...) {
		d.log.Warn("configuration", "warning", w)
	}
	if later := needRestart(d.cfg, cfg); len(later) > 0 {
		d.log.Warn("configuration: these have changed and need a restart of tsubod", "keys", later)
	}
	d.log.Info("configuration reloaded", "file", cfg.File)
	return nil
}

// needRestart returns the names of keys that differ and are read only at start.
func needRestart(old, new *config.Config) []string {
	var changed []string
	for _, k := range []struct {
		name string
		same bool
	}{
		{"log_level", old.LogLevel == new.LogLevel},
		{"security_mode", old.SecurityMode == new.SecurityMode},
		{"data_dir", old.DataDir == new.DataDir},
		{"run_dir", old.RunDir == new.RunDir},
		{"socket", old.Socket == new.Socket},
		{"socket_group", old.SocketGroup == new.SocketGroup},
		{"runsc_path", old.RunscPath == new.RunscPath},
		{"runsc_sha256", old.RunscSHA256 == new.RunscSHA256},
		{"init_path", old.InitPath == new.InitPath},
		{"mkfs_erofs_path", old.MkfsErofsPath == new.MkfsErofsPath},
		{"cgroup_parent", old.CgroupParent == new.CgroupParent},
		{"memory_budget", old.MemoryBudget == new.MemoryBudget},
		{"daemon_memory", old.DaemonMemory == new.DaemonMemory},
		{"max_workers", old.MaxWorkers == new.MaxWorkers},
		{"max_queue_size", old.MaxQueueSize == new.MaxQueueSize},
		{"pool_enabled, pool_min, pool_max or warm_max", old.Pool == new.Pool},
		{"images.preload_dirs", slices.Equal(old.Images.PreloadDirs, new.Images.PreloadDirs)},
		{"max_retry_attempts", old.Keeping.Attempts == new.Keeping.Attempts},
		{"retry_base_delay", old.Keeping.RetryDelay == new.Keeping.RetryDelay},
		{"queue_ttl_seconds", old.Keeping.QueueTTL == new.Keeping.QueueTTL},
		{"server_host", old.Access.TCP == new.Access.TCP && old.Access.Host == new.Access.Host},
		{"server_port", old.Access.Port == new.Access.Port},
		{"tls_cert", old.Access.TLSCert == new.Access.TLSCert && old.Access.TLSKey == new.Access.TLSKey},
	} {
		if !k.same {
			changed = append(changed, k.name)
		}
	}
	return changed
}
