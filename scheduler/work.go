package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/breaker"
)

const (
	maxRetryDelay = 30 * time.Second
	// storeBound limits one call of the store. A failed write is retried after each of writeDelays.
	storeBound = 30 * time.Second
)

var writeDelays = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second}

// failure describes an attempt that ended before the program had a result.
type failure struct {
	transient bool  // another attempt may succeed
	dead      error // unexpected failure inside tsubo; dead-lettered if the job is not retried
}

// work runs an asynchronous job from its first turn to its end, on its own goroutine.
func (s *Scheduler) work(e *entry) {
	defer s.recoverPanic(e)
	ctx := context.Background()
	result, why := s.load(ctx, e)
	if why == nil {
		result = s.runWithRetries(ctx, e, nil)
	}
	if result != nil && e.interrupted(result) && (!e.hub.Begun() || s.opt.RetryOnInterrupt(e.kind)) {
		result = nil
		s.unmark(ctx, e)
	}
	if result == nil { // the daemon stops; the job stays queued
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dismiss(e, s.unready())
		return
	}
	rec := s.complete(e, result)
	if err := s.write(ctx, "keep the result of a job", e, func(ctx context.Context) error {
		return s.opt.Store.Finish(ctx, rec, result.Artifacts)
	}); err != nil {
		s.addDeadLetter(ctx, e, job.TypeInternal, fmt.Errorf("keep the result: %w", err))
		s.drop(e, errors.New("the job's record could not be written"))
		return
	}
	s.conclude(e, rec, true)
}

// interrupted reports whether the run ended only because the daemon stops.
func (e *entry) interrupted(r *job.Result) bool {
	return errors.Is(context.Cause(e.ctx), job.ErrShutdown) && r.Error != nil && r.Error.Type == job.TypeInterrupted
}

// recoverPanic ends an entry whose goroutine panicked, so that its slot and its waiters are
// released.
func (s *Scheduler) recoverPanic(e *entry) {
	p := recover()
	if p == nil {
		return
	}
	s.log.Error("scheduler panicked over a job", "id", e.id, "panic", p, "stack", string(debug.Stack()))
	err := fmt.Errorf("panic: %v", p)
	s.addDeadLetter(context.Background(), e, job.TypeInternal, err)
	s.drop(e, err)
	if !e.async {
		panic(p) // on the caller's goroutine
	}
}

// conclude publishes the end of a job whose record is already stored. If remember is set, the job's
// stream stays readable for a while.
func (s *Scheduler) conclude(e *entry, rec *job.Record, remember bool) {
	e.hub.End(rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	if remember {
		s.ended.Add(e.id, e.hub)
	}
	e.final = rec.Status
	s.dismiss(e, nil)
}

// load reads the job's record and request from the store, unless they are in memory, and resolves
// the job under the current policy. A non-nil result ends a job that can no longer run.
func (s *Scheduler) load(ctx context.Context, e *entry) (*job.Result, error) {
	if e.spec != nil {
		return nil, nil
	}
	var rec *job.Record
	var req *job.Request
	if err := s.write(ctx, "load a job", e, func(ctx context.Context) (err error) {
		if rec, err = s.opt.Store.Get(ctx, e.id); err == nil {
			req, err = s.opt.Store.Request(ctx, e.id)
		}
		return err
	}); err != nil {
		e.record = rec
		if rec == nil {
			e.record = &job.Record{ID: e.id, Caller: e.caller, JobType: e.kind, Status: job.Queued, Async: true,
				CreatedAt: e.created}
		}
		err = fmt.Errorf("load the job: %w", err)
		s.addDeadLetter(ctx, e, job.TypeInternal, err)
		return internal(), err
	}
	e.record, e.request = rec, req
	spec, result, err := s.resolve(e.id, rec, req)
	if err != nil {
		return result, err
	}
	if !s.resize(e, spec) {
		r := s.tooLarge(spec.Limits.Memory + s.opt.Allowance)
		return job.FailedResult(job.TypeConfig, job.PhaseStartup, r.Message), r
	}
	e.spec = spec
	return nil, nil
}

// resolve returns the Spec of an accepted job. On error it also returns the result with which the
// job ends.
func (s *Scheduler) resolve(id string, rec *job.Record, req *job.Request) (*job.Spec, *job.Result, error) {
	spec, err := s.opt.Resolve(rec, req)
	var refusal *job.Refusal
	switch {
	case errors.As(err, &refusal):
		return nil, job.FailedResult(job.TypeConfig, job.PhaseStartup, refusal.Message), err
	case err != nil:
		s.log.Error("resolve an accepted job", "id", id, "error", err)
		return nil, internal(), err
	}
	return spec, nil, nil
}

// resize adapts the entry to a configuration that changed after the job was accepted. It reports
// false if the job can no longer fit. A job that has grown keeps its slot if the budget has room;
// otherwise it waits for another turn.
func (s *Scheduler) resize(e *entry, spec *job.Spec) bool {
	need := spec.Limits.Memory + s.opt.Allowance
	s.mu.Lock()
	if need > s.opt.Budget || spec.Limits.Memory <= 0 {
		s.mu.Unlock()
		return false
	}
	e.longest = spec.StartupTimeout + spec.Timeout
	grown := need - e.need
	if s.used+grown <= s.opt.Budget {
		s.use(grown)
		e.need = need
		s.mu.Unlock()
		return true
	}
	s.releaseSlot(e)
	e.need = need
	s.mu.Unlock()
	return true
}

// runWithRetries runs the job, several times if the infrastructure fails, and returns the final
// result. Nil means that the daemon stops and the job stays queued in the store.
func (s *Scheduler) runWithRetries(ctx context.Context, e *entry, patience <-chan time.Time) *job.Result {
	var result *job.Result
	for delay := time.Duration(0); ; delay = s.backoff(e.tries) {
		if e.at != running { // only this goroutine releases a running entry's slot
			t, err := s.again(ctx, e, delay, patience)
			switch {
			case err != nil:
				return ended(job.CancelRequested, job.ErrCallerGone, job.PhaseStartup)
			case t.cancelled:
				return ended(job.CancelRequested, cancelCause(e), job.PhaseStartup)
			case t.refusal != nil && e.async:
				return nil
			case t.refusal != nil && result != nil:
				return result // the last attempt's result
			case t.refusal != nil:
				return job.FailedResult(job.TypeUnavailable, job.PhaseStartup, t.refusal.Message)
			}
		}
		var f *failure
		result, f = s.attempt(ctx, e)
		if f == nil {
			return result
		}
		if !f.transient || e.tries >= s.opt.MaxTries {
			if f.dead != nil {
				s.addDeadLetter(ctx, e, job.TypeInternal, f.dead)
			}
			return result
		}
		s.unmark(ctx, e)
		e.attempt++
		s.mu.Lock()
		s.releaseSlot(e)
		s.dispatch()
		s.mu.Unlock()
	}
}

func cancelCause(e *entry) error {
	if cause := context.Cause(e.ctx); errors.Is(cause, job.ErrCallerGone) {
		return cause
	}
	return job.ErrCancelRequested
}

// backoff returns the delay before the next attempt after this many tries (wire.md 2.2).
func (s *Scheduler) backoff(tries int) time.Duration {
	d := maxRetryDelay
	if n := tries - 1; n < 16 {
		d = min(d, s.opt.RetryDelay<<n)
	}
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // not a secret
}

// again waits for the delay without a slot, then queues the entry before the other jobs of its
// caller and waits for a slot.
func (s *Scheduler) again(ctx context.Context, e *entry, delay time.Duration, patience <-chan time.Time) (turn, error) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ctx.Done():
		if errors.Is(context.Cause(e.ctx), job.ErrShutdown) {
			return turn{refusal: s.refuseUnready()}, nil
		}
		return turn{cancelled: true}, nil
	case <-patience:
		return turn{refusal: s.impatient(e)}, nil
	case <-s.stopping:
		return turn{refusal: s.refuseUnready()}, nil
	}
	s.mu.Lock()
	if s.state != open {
		defer s.mu.Unlock()
		return turn{refusal: s.unready()}, nil
	}
	s.queue.pushFront(e)
	s.dispatch()
	s.mu.Unlock()
	return s.await(ctx, e, patience)
}

func (s *Scheduler) refuseUnready() *job.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unready()
}

// attempt runs the job once. The result is final if no further attempt is made.
func (s *Scheduler) attempt(ctx context.Context, e *entry) (*job.Result, *failure) {
	e.tries++
	if cause := context.Cause(e.ctx); cause != nil {
		return byCause(cause, e.spec, job.PhaseStartup), nil
	}
	if refused := e.spec.Refused(); refused != nil {
		return refused, nil
	}
	leave := s.breaker.Allow(e.spec.Type + "\x00" + e.spec.Image)
	if leave == nil {
		return job.FailedResult(job.TypeUnavailable, job.PhaseStartup,
			"Sandboxes cannot be started at the moment; the server's log has the reason"), &failure{transient: true}
	}
	defer leave.Unknown()
	if err := s.mark(ctx, e); err != nil {
		s.log.Error("mark a job as started", "id", e.id, "error", err)
		return internal(), &failure{transient: true, dead: fmt.Errorf("mark the job as started: %w", err)}
	}
	overdue := time.AfterFunc(e.spec.StartupTimeout+e.spec.Timeout+overdueAfter, func() { e.cancel(job.ErrOverdue) })
	defer overdue.Stop()
	result, panicked, err := s.contained(e, launchObserver{e.hub, leave})
	if result != nil {
		e.cleared = result.Cleared
	}
	cause := context.Cause(e.ctx)
	switch {
	case errors.Is(cause, job.ErrOverdue):
		// The runner reports a cancellation, but the cause was this deadline.
		s.log.Error("a run did not end by its own deadline", "id", e.id, "error", err)
		return overrun(result, e.spec), nil
	case err == nil && result != nil:
		return result, nil
	}
	s.log.Error("run failed", "id", e.id, "attempt", e.attempt, "cause", cause, "error", err)
	var refusal *job.Refusal
	switch {
	case cause != nil:
		return byCause(cause, e.spec, job.PhaseExecution), nil
	case panicked:
		return internal(), &failure{dead: err}
	case e.hub.Begun(): // violates the Runner's contract
		return internal(), &failure{dead: fmt.Errorf("failed after the code had begun: %w", err)}
	case errors.As(err, &refusal):
		switch refusal.Reason {
		case job.NotFound, job.Invalid, job.TooLarge, job.Conflict:
			return job.FailedResult(job.TypeConfig, job.PhaseStartup, refusal.Message), nil
		}
		leave.Failed()
		return job.FailedResult(job.TypeUnavailable, job.PhaseStartup, refusal.Message), &failure{transient: true}
	}
	leave.Failed()
	return job.FailedResult(job.TypeUnavailable, job.PhaseStartup,
		"The sandbox could not be started; the server's log has the reason"), &failure{transient: true}
}

// launchObserver reports a successful launch to the breaker.
type launchObserver struct {
	job.Observer
	leave *breaker.Permit
}

func (l launchObserver) Started() {
	l.leave.Launched()
	l.Observer.Started()
}

// contained calls the runner. It turns a panic or an empty answer into an error.
func (s *Scheduler) contained(e *entry, watch job.Observer) (result *job.Result, panicked bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("runner panicked", "id", e.id, "panic", p, "stack", string(debug.Stack()))
			result, panicked, err = nil, true, fmt.Errorf("runner panicked: %v", p)
		}
	}()
	result, err = s.opt.Runner.Run(e.ctx, e.spec, watch)
	if err == nil && result == nil {
		return nil, true, errors.New("runner returned neither result nor error")
	}
	return result, false, err
}

// mark stores the start mark of this attempt. It runs before the job is dispatched.
func (s *Scheduler) mark(ctx context.Context, e *entry) error {
	if !e.async {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeBound)
	defer cancel()
	if err := s.opt.Store.Begin(ctx, e.id, e.attempt, s.opt.Holder, time.Now().Add(leaseFor)); err != nil {
		return err
	}
	e.marked = true
	return nil
}

// unmark clears the start mark. If that fails, the next daemon treats the job as started.
func (s *Scheduler) unmark(ctx context.Context, e *entry) {
	if !e.marked {
		return
	}
	if err := s.write(ctx, "queue a job again", e,
		func(ctx context.Context) error { return s.opt.Store.Requeue(ctx, e.id) }); err == nil {
		e.marked = false
	}
}

// write calls the store and retries failures that may be temporary.
func (s *Scheduler) write(ctx context.Context, what string, e *entry, call func(context.Context) error) error {
	for i := 0; ; i++ {
		bounded, cancel := context.WithTimeout(ctx, storeBound)
		err := call(bounded)
		cancel()
		if err == nil {
			return nil
		}
		s.log.Error(what, "id", e.id, "error", err)
		if i == len(writeDelays) || errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrTerminal) ||
			errors.Is(err, job.ErrTransition) {
			return err // not temporary
		}
		time.Sleep(writeDelays[i])
	}
}

// addDeadLetter stores an unexpected failure inside tsubo in the dead letter queue.
func (s *Scheduler) addDeadLetter(ctx context.Context, e *entry, kind job.ErrorType, why error) {
	ctx, cancel := context.WithTimeout(ctx, storeBound)
	defer cancel()
	if err := s.opt.Store.Dead(ctx, s.deadLetter(e, kind, why.Error())); err != nil {
		s.log.Error("keep a dead letter", "id", e.id, "letter", why, "error", err)
	}
}

func internal() *job.Result {
	return job.FailedResult(job.TypeInternal, job.PhaseStartup, "The sandbox failed; the server's log has the reason")
}

// byCause returns the result of a run that was cancelled and left no result.
func byCause(cause error, spec *job.Spec, phase job.Phase) *job.Result {
	switch {
	case errors.Is(cause, job.ErrShutdown):
		return ended(job.Interrupted, cause, phase)
	case errors.Is(cause, job.ErrOverdue):
		return overrun(nil, spec)
	}
	return ended(job.CancelRequested, cause, phase)
}

func ended(c job.Cause, reason error, phase job.Phase) *job.Result {
	v := job.Classify(job.Facts{Cause: c, Reason: reason.Error(), Phase: phase})
	return &job.Result{Status: v.Status, ExitCode: v.ExitCode, Error: v.Error}
}

// overrun returns the result of a run that the watchdog ended: a timeout, with the output so far
// (wire.md 2.2).
func overrun(r *job.Result, spec *job.Spec) *job.Result {
	out := job.Result{}
	if r != nil {
		out = *r
	}
	v := job.Classify(job.Facts{Cause: job.Overrun, Phase: job.PhaseExecution, Timeout: spec.Timeout})
	out.Status, out.ExitCode, out.Error = v.Status, v.ExitCode, v.Error
	return &out
}
