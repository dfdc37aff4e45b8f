package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/events"
)

// Execute waits for the job's turn, runs the job in the caller's goroutine, and returns its record
// and its result.
//
// Failures of the program and of tsubo are both results. tsubo's are service_unavailable,
// config_error and internal_error, with exit code -1. The error is a *job.Refusal, or ctx's error
// if the caller left while the job was queued. In both cases no code ran and nothing is stored. If
// ctx ends later, the run is cancelled with job.ErrCallerGone and Execute still returns its result.
//
// If keep is set, Execute queues the record for the store without waiting. watch receives the
// stream, as Events returns it, once the job has a place. watch may be nil and must not block.
// Status, times and outcome are filled in a copy of sub.Record.
func (s *Scheduler) Execute(ctx context.Context, sub job.Submission, keep bool,
	watch func(iter.Seq[job.Event])) (*job.Record, *job.Result, error) {
	e, refusal := s.enter(sub, false)
	if refusal != nil {
		return nil, nil, refusal
	}
	if watch != nil {
		watch(e.hub.Read(ctx, 0))
	}
	patience := time.NewTimer(sub.Spec.StartupTimeout)
	defer patience.Stop()
	t, err := s.await(ctx, e, patience.C)
	if err == nil && t.refusal != nil {
		err = t.refusal
	}
	if err != nil {
		s.drop(e, err)
		return nil, nil, err
	}
	defer s.recoverPanic(e)
	var result *job.Result
	if t.cancelled {
		result = ended(job.CancelRequested, job.ErrCancelRequested, job.PhaseStartup)
	} else {
		stop := context.AfterFunc(ctx, func() { e.cancel(job.ErrCallerGone) })
		defer stop()
		if ctx.Err() != nil {
			e.cancel(job.ErrCallerGone) // AfterFunc's goroutine may run later
		}
		result = s.runWithRetries(ctx, e, patience.C)
	}
	rec := s.complete(e, result)
	if keep {
		s.opt.Store.Save(rec, e.request, result.Artifacts)
	}
	s.conclude(e, rec, keep) // keep covers the event stream, too
	return rec, result, nil
}

// Submit accepts an asynchronous job. When Submit returns, the job is in the store, synced, and
// will run even if the caller leaves or the daemon dies. existed reports that the caller submitted
// the same job before with this idempotency key; rec is then that job's record. The error is a
// *job.Refusal or the store's own, such as job.ErrFingerprint. On error nothing is stored.
func (s *Scheduler) Submit(ctx context.Context, sub job.Submission) (rec *job.Record, existed bool, err error) {
	e, refusal := s.enter(sub, true)
	if refusal != nil {
		if rec, err := s.known(ctx, sub.Record, refusal); rec != nil || err != nil {
			return rec, rec != nil, err
		}
		return nil, false, refusal
	}
	accepted := *e.record
	// The outcome must be known even if the caller has left.
	existing, err := s.opt.Store.Accept(context.WithoutCancel(ctx), &accepted, sub.Request)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil || existing != nil:
		s.queue.remove(e)
		s.dismiss(e, errors.New("not accepted"))
		if errors.Is(err, job.ErrNoSpace) {
			s.log.Error("accept a job", "id", e.id, "error", err)
			err = job.Refuse(job.NoSpace, "The server has no space left to keep the job")
		}
		return existing, existing != nil, err
	case e.at != queued: // Drain ran meanwhile; the job stays queued in the store
		e.held = false
		s.dismiss(e, s.unready())
		return &accepted, false, nil
	}
	rec = new(job.Record)
	*rec = accepted
	e.record = rec // owned by the job's goroutine
	s.queue.release(e)
	s.armExpiry(e)
	s.dispatch()
	if e.at == queued {
		e.forget()
	}
	return &accepted, false, nil
}

// known returns the record that a refused submission repeats, or nil. Such a repetition needs no
// place in the queue (wire.md 1.2).
func (s *Scheduler) known(ctx context.Context, rec *job.Record, why *job.Refusal) (*job.Record, error) {
	if rec == nil || rec.IdempotencyKey == "" || why.Reason != job.QueueFull {
		return nil, nil
	}
	old, err := s.opt.Store.ByKey(ctx, rec.Caller, rec.IdempotencyKey)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case old.Fingerprint != "" && old.Fingerprint != rec.Fingerprint:
		return nil, job.ErrFingerprint
	}
	return old, nil
}

// cancelWait limits how long Cancel waits for the end of a cancelled run.
const cancelWait = 5 * time.Second

// Cancel ends the job with this ID. A waiting job never starts; a running job is killed at once and
// keeps its partial output (ruling 1). The record is terminal in the store when Cancel returns,
// unless the run outlives cancelWait or ctx; the record then follows. Cancel reports false if there
// was no such job or if it ended by itself first. On error, because the store failed or the daemon
// stops, the job still exists.
func (s *Scheduler) Cancel(ctx context.Context, id string) (bool, error) {
	s.mu.Lock()
	e := s.visible(id)
	switch {
	case e == nil && s.state == open:
		s.mu.Unlock()
		return false, nil
	case e == nil:
		defer s.mu.Unlock()
		return false, s.unready()
	case !s.queue.remove(e):
		e.cancel(job.ErrCancelRequested)
		s.mu.Unlock()
		return s.awaitEnd(ctx, e)
	case e.turn != nil:
		s.engage(e)
		e.turn <- turn{cancelled: true}
		s.dispatch()
		s.mu.Unlock()
		return s.awaitEnd(ctx, e)
	}
	s.engage(e)
	s.dispatch() // the job may have held others back by its size
	s.mu.Unlock()
	return true, s.endQueued(ctx, e, ended(job.CancelRequested, job.ErrCancelRequested, ""))
}

func (s *Scheduler) awaitEnd(ctx context.Context, e *entry) (bool, error) {
	patience := time.NewTimer(cancelWait)
	defer patience.Stop()
	select {
	case <-e.done:
		return e.final == job.Cancelled || e.err != nil, e.err
	case <-patience.C:
	case <-ctx.Done():
	}
	return true, nil
}

// endQueued makes the record of a job terminal that left the queue before its turn. If the store
// fails, the job returns to the front of its line.
func (s *Scheduler) endQueued(ctx context.Context, e *entry, result *job.Result) error {
	ctx = context.WithoutCancel(ctx)
	rec, err := s.opt.Store.Get(ctx, e.id)
	if err == nil {
		e.record = rec
		rec = s.complete(e, result)
		err = s.opt.Store.Finish(ctx, rec, nil)
	}
	if err == nil {
		s.conclude(e, rec, true)
		return nil
	}
	s.log.Error("end a queued job", "id", e.id, "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.forget()
	if s.state != open {
		s.dismiss(e, s.unready())
		return err
	}
	e.engaged = false
	s.busy--
	s.queue.pushFront(e)
	s.dispatch()
	return err
}

// armExpiry starts the queue_ttl_seconds timer. s.mu must be held.
func (s *Scheduler) armExpiry(e *entry) {
	if s.opt.QueueTTL > 0 {
		e.expiry = time.AfterFunc(time.Until(e.created.Add(s.opt.QueueTTL)), func() { s.expire(e) })
	}
}

func (s *Scheduler) expire(e *entry) {
	s.mu.Lock()
	// The job has a goroutine that waits, or its turn came in the meantime.
	if e.turn != nil || !s.queue.remove(e) {
		s.mu.Unlock()
		return
	}
	s.engage(e)
	s.dispatch()
	s.mu.Unlock()
	_ = s.endQueued(context.Background(), e, job.FailedResult(job.TypeTimeout, "", fmt.Sprintf(
		"The job waited in the queue for longer than queue_ttl_seconds (%g)", s.opt.QueueTTL.Seconds())))
}

// enter starts the job or appends it to its caller's line. If the queue overflows, one job is
// refused, chosen so that a caller who floods the queue cannot keep others out.
func (s *Scheduler) enter(sub job.Submission, async bool) (*entry, *job.Refusal) {
	spec := sub.Spec
	need := spec.Limits.Memory + s.opt.Allowance
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != open:
		return nil, s.unready()
	case spec.Limits.Memory <= 0 || need > s.opt.Budget:
		return nil, s.tooLarge(need)
	case s.byID[spec.ID] != nil:
		return nil, job.Refuse(job.Conflict, "A job with this id is already there")
	}
	e := s.newEntry(sub, async)
	e.held = async
	if !async {
		e.turn = make(chan turn, 1)
	}
	s.byID[e.id] = e
	s.queue.push(e)
	s.dispatch()
	switch out := s.overflow(e); {
	case out == e:
		s.queue.remove(e)
		r := s.full()
		s.dismiss(e, r)
		return nil, r
	case out != nil:
		out.turn <- turn{refusal: s.full()}
	}
	return e, nil
}

func (s *Scheduler) newEntry(sub job.Submission, async bool) *entry {
	rec := job.Record{}
	if sub.Record != nil {
		rec = *sub.Record
	}
	spec := sub.Spec
	rec.ID, rec.Caller, rec.Status, rec.Async, rec.MaxTries = spec.ID, spec.Caller, job.Queued, async, s.opt.MaxTries
	if rec.JobType == "" {
		rec.JobType = spec.Type
	}
	if rec.JobRef == "" {
		rec.JobRef = spec.TypeRef
	}
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = time.Now().UTC()
	}
	e := &entry{
		id: rec.ID, caller: rec.Caller, kind: rec.JobType, async: async, created: rec.CreatedAt,
		record: &rec, request: sub.Request, spec: spec,
		need: spec.Limits.Memory + s.opt.Allowance, longest: spec.StartupTimeout + spec.Timeout,
		hub: events.New(spec.Limits.Stdout, spec.Limits.Stderr), done: make(chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancelCause(context.Background())
	return e
}

// overflow returns the entry to refuse because e arrived, possibly e itself, or nil for none. s.mu
// must be held.
func (s *Scheduler) overflow(e *entry) *entry {
	room := s.opt.Queue
	if e.held && s.queue.ready() == 0 {
		room += s.opt.Workers - len(s.running) // it will not wait once it is written
	}
	if e.at != queued || s.queue.len() <= room {
		return nil
	}
	if out := s.queue.displace(e.caller); out != nil {
		return out
	}
	// Accepted jobs cannot be displaced, so callers with few queued jobs get some extra room.
	if s.queue.waiting(e.caller) <= max(1, s.opt.Queue/8) && s.queue.len() <= 2*s.opt.Queue {
		return nil
	}
	return e
}

// await waits for the entry's turn until ctx ends or patience fires.
func (s *Scheduler) await(ctx context.Context, e *entry, patience <-chan time.Time) (turn, error) {
	select {
	case t := <-e.turn:
		return t, nil
	case <-ctx.Done():
		if s.withdraw(e) {
			return turn{}, fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		}
	case <-patience:
		if s.withdraw(e) {
			return turn{refusal: s.impatient(e)}, nil
		}
	}
	return <-e.turn, nil // the turn came at the same instant
}

// withdraw removes the entry from the queue and reports whether it was still queued.
func (s *Scheduler) withdraw(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queue.remove(e) {
		return false
	}
	s.dispatch() // the job may have held others back by its size
	return true
}

// drop dismisses an entry whose code never ran.
func (s *Scheduler) drop(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dismiss(e, err)
}

func (s *Scheduler) tooLarge(need int64) *job.Refusal {
	return job.Refuse(job.TooLarge,
		"The job needs %d bytes of memory, and all jobs together may have %d (memory_budget)", need, s.opt.Budget)
}

func (s *Scheduler) full() *job.Refusal {
	return &job.Refusal{Reason: job.QueueFull, Message: "Job queue is full, try again later",
		RetryAfter: s.retryAfter()}
}

func (s *Scheduler) impatient(e *entry) *job.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &job.Refusal{
		Reason: job.Busy,
		Message: fmt.Sprintf("No slot came free within startup_timeout (%g seconds), try again later",
			e.spec.StartupTimeout.Seconds()),
		RetryAfter: s.retryAfter(),
	}
}
