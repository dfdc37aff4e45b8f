package scheduler

import (
	"context"
	"errors"
	"fmt"

	"github.com/tsubo-run/tsubo/job"
)

// maxInterrupts limits how often a job is started again after daemon crashes.
const maxInterrupts = 10

// reconcile recovers the jobs that an earlier daemon left behind (ruling 4). The state directory
// has one daemon at a time, so the holder of a running job is gone. Such a job is queued again if
// its type allows that; otherwise it becomes failed/interrupted. reconcile returns queued jobs as
// entries, in the order of their acceptance. Jobs that can no longer run end here.
func (s *Scheduler) reconcile(ctx context.Context) ([]*entry, error) {
	stray, err := s.opt.Store.Running(ctx)
	if err != nil {
		return nil, fmt.Errorf("list running jobs: %w", err)
	}
	for i := range stray {
		if err := s.interrupted(ctx, &stray[i]); err != nil {
			return nil, fmt.Errorf("reconcile job %s: %w", stray[i].ID, err)
		}
	}
	waiting, err := s.opt.Store.Queued(ctx)
	if err != nil {
		return nil, fmt.Errorf("list queued jobs: %w", err)
	}
	entries := make([]*entry, 0, len(waiting))
	for i := range waiting {
		e, err := s.restore(ctx, &waiting[i])
		if err != nil {
			return nil, fmt.Errorf("restore job %s: %w", waiting[i].ID, err)
		}
		if e != nil {
			entries = append(entries, e)
		}
	}
	if len(stray)+len(waiting) > 0 {
		s.log.Info("recovered the jobs of an earlier daemon", "queued", len(entries), "running", len(stray))
	}
	return entries, nil
}

// interrupted requeues or ends a job that was running when the daemon ended.
func (s *Scheduler) interrupted(ctx context.Context, rec *job.Record) error {
	if s.opt.RetryOnInterrupt(rec.JobType) && rec.Attempt+1 < maxInterrupts {
		return s.opt.Store.Requeue(ctx, rec.ID)
	}
	result := job.FailedResult(job.TypeInterrupted, job.PhaseExecution,
		"Execution was interrupted by a server restart before it was complete")
	e := &entry{record: rec, attempt: rec.Attempt, first: rec.DequeuedAt}
	result.StartedAt = rec.DequeuedAt // the earliest time at which the code may have started
	ended := s.complete(e, result)
	ended.WorkerID = rec.WorkerID
	return s.opt.Store.Finish(ctx, ended, nil)
}

// restore returns the entry of a queued job, or nil if it ended the job instead.
func (s *Scheduler) restore(ctx context.Context, rec *job.Record) (*entry, error) {
	req, err := s.opt.Store.Request(ctx, rec.ID)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		e := &entry{id: rec.ID, caller: rec.Caller, record: rec}
		s.addDeadLetter(ctx, e, job.TypeInternal, fmt.Errorf("load the job: %w", err))
		return nil, s.opt.Store.Finish(ctx, s.complete(e, internal()), nil)
	}
	spec, result, err := s.resolve(rec.ID, rec, req)
	if err == nil {
		if need := spec.Limits.Memory + s.opt.Allowance; spec.Limits.Memory <= 0 || need > s.opt.Budget {
			result, err = job.FailedResult(job.TypeConfig, job.PhaseStartup, s.tooLarge(need).Message),
				errors.New("too large")
		}
	}
	if err != nil {
		e := &entry{id: rec.ID, caller: rec.Caller, record: rec, request: req}
		return nil, s.opt.Store.Finish(ctx, s.complete(e, result), nil)
	}
	e := s.newEntry(job.Submission{Record: rec, Request: req, Spec: spec}, true)
	if !rec.DequeuedAt.IsZero() { // an earlier attempt exists
		e.attempt = rec.Attempt + 1
	}
	e.forget()
	return e, nil
}
