package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/store"
)

// attend reloads the configuration on request until the daemon must stop. It returns nil if ctx
// ends, or the failure that stops the daemon.
func (d *Daemon) attend(ctx context.Context, reload <-chan struct{}, load func() (*config.Config, error)) error {
	for {
		select {
		case err := <-d.Failed():
			d.log.Error("stopping after a failure", "error", err)
			return err
		case <-ctx.Done():
			d.log.Info("stopping")
			return nil
		case <-reload:
		}
		cfg, err := load()
		if err == nil {
			err = d.Reload(cfg)
		}
		if err != nil {
			d.log.Error("the configuration is not reloaded: the old one stays in force", "error", err)
		}
	}
}

// Reload applies a configuration as far as a running daemon can, and logs the keys that need a
// restart. On error nothing has changed.
func (d *Daemon) Reload(cfg *config.Config) error {
	if _, err := cfg.CheckAccess(len(d.keys.List()) > 0); err != nil {
		return err
	}
	running := d.withOpenListener(cfg)
	warnings, err := running.CheckAccess(len(d.keys.List()) > 0)
	if err != nil {
		return fmt.Errorf("for the TCP listener that is open until a restart: %w", err)
	}
	for _, t := range cfg.Types() {
		if need := max(t.Limits.Memory, t.MaxMemory) + limits.Allowance; need > d.cfg.MemoryBudget {
			return errors.New("field job_types: '" + t.Name +
				"' needs more memory than the memory_budget that the daemon started with: restart it")
		}
	}
	if err := d.setRules(running); err != nil {
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

// withOpenListener returns cfg with the TCP listener of the running daemon. Rules written for
// another address must not apply to callers of this one: "user of this host" would be everybody.
func (d *Daemon) withOpenListener(cfg *config.Config) *config.Config {
	running := *cfg
	a, open := &running.Access, &d.cfg.Access
	a.TCP, a.Host, a.Port, a.TLSCert, a.TLSKey = open.TCP, open.Host, open.Port, open.TLSCert, open.TLSKey
	return &running
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
		{"pool_enabled", old.Pool.Enabled == new.Pool.Enabled},
		{"pool_min", old.Pool.Min == new.Pool.Min},
		{"pool_max", old.Pool.Max == new.Pool.Max},
		{"warm_max", old.Pool.WarmMax == new.Pool.WarmMax},
		{"images.preload_dirs", slices.Equal(old.Images.PreloadDirs, new.Images.PreloadDirs)},
		{"max_retry_attempts", old.Keeping.Attempts == new.Keeping.Attempts},
		{"retry_base_delay", old.Keeping.RetryDelay == new.Keeping.RetryDelay},
		{"queue_ttl_seconds", old.Keeping.QueueTTL == new.Keeping.QueueTTL},
		{"server_host", old.Access.TCP == new.Access.TCP && old.Access.Host == new.Access.Host},
		{"server_port", old.Access.Port == new.Access.Port},
		{"tls_cert", old.Access.TLSCert == new.Access.TLSCert},
		{"tls_key", old.Access.TLSKey == new.Access.TLSKey},
	} {
		if !k.same {
			changed = append(changed, k.name)
		}
	}
	return changed
}
