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

// Execute runs the job in the caller's goroutine once its turn has come, and returns its record and
// its result. The program's failure and tsubo's own are values (the latter failed with
// service_unavailable, config_error or internal_error, exit code -1); the error is a *job.Refusal,
// or ctx's own when the caller went away while the job was queued: in both cases nothing of the job
// ran and nothing is kept. When ctx ends later, the run is cancelled with job.ErrCallerGone and
// Execute still returns its result. With keep the record goes to the store afterwards, without
// waiting for it. Once the job has a place, watch, which may be nil, gets its stream as Events
// returns it; watch must not block. The scheduler fills the record's status, times and outcome in a
// copy of sub.Record.
func (s *Scheduler) Execute(ctx context.Context, sub job.Submission, keep bool, watch func(iter.Seq[job.Event])) (*job.Record, *job.Result, error) {
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
			e.cancel(job.ErrCallerGone) // AfterFunc runs on a goroutine of its own, possibly later
		}
		result = s.runWithRetries(ctx, e, patience.C)
	}
	rec := s.complete(e, result)
	if keep {
		s.opt.Store.Save(rec, e.request, result.Artifacts)
	}
	s.conclude(e, rec, keep) // nothing is kept of a job that nobody wants kept
	return rec, result, nil
}

// Submit accepts an asynchronous job: when it returns, the job is in the store, synced, and will
// run whatever happens to the caller or to the daemon. existed reports that the caller had
// submitted the same before under its idempotency key: rec is that job's record then. The error is
// a *job.Refusal or the store's own, job.ErrFingerprint among them: nothing is kept then.
func (s *Scheduler) Submit(ctx context.Context, sub job.Submission) (rec *job.Record, existed bool, err error) {
	e, refusal := s.enter(sub, true)
	if refusal != nil {
		if rec, err := s.known(ctx, sub.Record, refusal); rec != nil || err != nil {
			return rec, rec != nil, err
		}
		return nil, false, refusal
	}
	accepted := *e.record
	// Whether it is in the store must become known, also when the caller has gone.
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
	case e.at != queued: // Drain came: it stays queued in the store
		e.held = false
		s.dismiss(e, s.unready())
		return &accepted, false, nil
	}
	rec = new(job.Record)
	*rec = accepted
	e.record = rec // the goroutine's own
	s.queue.release(e)
	s.armExpiry(e)
	s.dispatch()
	if e.at == queued {
		e.forget()
	}
	return &accepted, false, nil
}

// known is the record that a refused submission repeats, if it does: it needs no place (wire.md
// 1.2).
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

// cancelWait is how long Cancel waits for the end of a run that it has cut short.
const cancelWait = 5 * time.Second

// Cancel ends the job with this id, wherever it is: a waiting one never starts; a running one is
// cut short at once and keeps its partial output (ruling 1). When it returns, the record is
// terminal in the store, unless the run takes longer than cancelWait to die, or ctx ends: then it
// follows. It reports whether there was such a job and no end of its own came first. The error
// reports that the store failed, or that the daemon stops: the job is still there.
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
	s.dispatch() // it may have been the large job that held others back
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

// endQueued makes terminal what has been taken out of the queue before its turn. When the store
// fails, the job goes back to where it was.
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

// armExpiry starts the clock of queue_ttl_seconds. s.mu is held.
func (s *Scheduler) armExpiry(e *entry) {
	if s.opt.QueueTTL > 0 {
		e.expiry = time.AfterFunc(time.Until(e.created.Add(s.opt.QueueTTL)), func() { s.expire(e) })
	}
}

func (s *Scheduler) expire(e *entry) {
	s.mu.Lock()
	if e.turn != nil || !s.queue.remove(e) { // it has a goroutine that waits, or its turn came at the same instant
		s.mu.Unlock()
		return
	}
	s.engage(e)
	s.dispatch()
	s.mu.Unlock()
	_ = s.endQueued(context.Background(), e, job.FailedResult(job.TypeTimeout, "", fmt.Sprintf(
		"The job waited in the queue for longer than queue_ttl_seconds (%g)", s.opt.QueueTTL.Seconds())))
}

// enter gives the job a place: a turn at once, or one in its caller's line. When that leaves more
// jobs waiting than the queue holds, somebody goes: a caller who floods the queue cannot keep
// others out.
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

// overflow returns the entry that has to go for e's sake, which may be e itself; nil for none. s.mu
// is held.
func (s *Scheduler) overflow(e *entry) *entry {
	room := s.opt.Queue
	if e.held && s.queue.ready() == 0 {
		room += s.opt.Workers - len(s.running) // it will not wait, once it is written
	}
	if e.at != queued || s.queue.len() <= room {
		return nil
	}
	if out := s.queue.displace(e.caller); out != nil {
		return out
	}
	// Accepted jobs cannot be pushed out, so some more room is kept for those who have little in
	// the queue.
	if s.queue.waiting(e.caller) <= max(1, s.opt.Queue/8) && s.queue.len() <= 2*s.opt.Queue {
		return nil
	}
	return e
}

// await waits for the entry's turn, as long as the caller is there and for as long as its patience
// lasts.
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
	return <-e.turn, nil // it came at the same instant
}

// withdraw takes the entry out of the queue and reports whether it was still there.
func (s *Scheduler) withdraw(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queue.remove(e) {
		return false
	}
	s.dispatch() // it may have been the large job that held others back
	return true
}

// drop lets go of an entry of which nothing ran.
func (s *Scheduler) drop(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dismiss(e, err)
}

func (s *Scheduler) tooLarge(need int64) *job.Refusal {
	return job.Refuse(job.TooLarge, "The job needs %d bytes of memory, and all jobs together may have %d (memory_budget)", need, s.opt.Budget)
}

func (s *Scheduler) full() *job.Refusal {
	return &job.Refusal{Reason: job.QueueFull, Message: "Job queue is full, try again later", RetryAfter: s.retryAfter()}
}

func (s *Scheduler) impatient(e *entry) *job.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &job.Refusal{
		Reason:     job.Busy,
		Message:    fmt.Sprintf("No slot came free within startup_timeout (%g seconds), try again later", e.spec.StartupTimeout.Seconds()),
		RetryAfter: s.retryAfter(),
	}
}
