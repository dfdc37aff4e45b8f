package scheduler

import (
	"context"
	"errors"
	"fmt"

	"github.com/tsubo-run/tsubo/job"
)

// maxInterrupts bounds how often a job is begun again whose daemon did not survive it.
const maxInterrupts = 10

// reconcile puts in order what an earlier life of the daemon left (ruling 4). A job that was
// running is of a holder that is gone, since the state directory has one daemon at a time: it is
// queued again when its type allows it, else failed/interrupted. Queued jobs come back as entries,
// in the order in which they were accepted; what cannot run any more ends here.
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
		s.log.Info("jobs of an earlier life", "queued", len(entries), "were running", len(stray))
	}
	return entries, nil
}

// interrupted deals with a job that was running when the daemon ended.
func (s *Scheduler) interrupted(ctx context.Context, rec *job.Record) error {
	if s.opt.RetryOnInterrupt(rec.JobType) && rec.Attempt+1 < maxInterrupts {
		return s.opt.Store.Requeue(ctx, rec.ID)
	}
	result := job.FailedResult(job.TypeInterrupted, job.PhaseExecution, "Execution was interrupted by a server restart before it was complete")
	e := &entry{record: rec, attempt: rec.Attempt, first: rec.DequeuedAt}
	result.StartedAt = rec.DequeuedAt // it may have begun then, and nobody knows better
	ended := s.complete(e, result)
	ended.WorkerID = rec.WorkerID
	return s.opt.Store.Finish(ctx, ended, nil)
}

// restore makes the entry of a job that was queued; nil for one that has been ended instead.
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
			result, err = job.FailedResult(job.TypeConfig, job.PhaseStartup, s.tooLarge(need).Message), errors.New("too large")
		}
	}
	if err != nil {
		e := &entry{id: rec.ID, caller: rec.Caller, record: rec, request: req}
		return nil, s.opt.Store.Finish(ctx, s.complete(e, result), nil)
	}
	e := s.newEntry(job.Submission{Record: rec, Request: req, Spec: spec}, true)
	if !rec.DequeuedAt.IsZero() { // it has been begun before
		e.attempt = rec.Attempt + 1
	}
	e.forget()
	return e, nil
}
