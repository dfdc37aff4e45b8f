package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
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
