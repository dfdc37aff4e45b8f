package daemon

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/scheduler"
)

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

// drainBound limits how long running jobs may continue after a stop.
const drainBound = 30 * time.Second

// stopJobs lets running jobs continue for drainBound, or until hurry ends, then interrupts them.
func (d *Daemon) stopJobs(hurry context.Context) error {
	ctx, cancel := context.WithTimeout(hurry, drainBound)
	defer cancel()
	return d.sched.Stop(ctx)
}
