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
	// storeBound bounds one call of the store; a write that fails is tried again after each of
	// writeDelays.
	storeBound = 30 * time.Second
)

var writeDelays = []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second}

// failure is why an attempt came to no outcome of the program's.
type failure struct {
	transient bool  // another attempt may do better
	dead      error // unexpected inside tsubo: goes to the dead letter queue when it stands
}

// work takes an asynchronous job from its first turn to its end, on a goroutine of its own.
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
	if result == nil { // the daemon stops, and the job stays queued
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

// interrupted reports whether the end of the daemon, and nothing else, ended the run.
func (e *entry) interrupted(r *job.Result) bool {
	return errors.Is(context.Cause(e.ctx), job.ErrShutdown) && r.Error != nil && r.Error.Type == job.TypeInterrupted
}

// recoverPanic ends an entry whose goroutine panicked: it must not hold its slot, nor its waiters,
// for ever.
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
		panic(p) // the caller's goroutine
	}
}

// conclude publishes the end of a job whose record is where it belongs. With remember its stream
// can be read for a while longer.
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

// load gets what the job is from the store, unless it is still here, and gives the entry its share
// of the budget by the policy of today. A result is the end of a job that cannot be run any more.
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
			e.record = &job.Record{ID: e.id, Caller: e.caller, JobType: e.kind, Status: job.Queued, Async: true, CreatedAt: e.created}
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

// resolve makes the Spec of an accepted job. With an error comes the result that the job ends with.
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

// resize follows a configuration that has changed since the job was accepted. It reports false when
// the job cannot fit any more. A job that has grown runs at once all the same when the budget has
// room; else it waits for its turn again.
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

// runWithRetries runs the job until it has a result that stands: once, or several times when the
// infrastructure fails. nil means that the job stays queued in the store, because the daemon stops.
func (s *Scheduler) runWithRetries(ctx context.Context, e *entry, patience <-chan time.Time) *job.Result {
	var result *job.Result
	for delay := time.Duration(0); ; delay = s.backoff(e.tries) {
		if e.at != running { // only this goroutine takes a running entry's slot
			t, err := s.again(ctx, e, delay, patience)
			switch {
			case err != nil:
				return ended(job.CancelRequested, job.ErrCallerGone, job.PhaseStartup)
			case t.cancelled:
				return ended(job.CancelRequested, cancelCause(e), job.PhaseStartup)
			case t.refusal != nil && e.async:
				return nil
			case t.refusal != nil && result != nil:
				return result // it is all there is
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

// backoff is the pause before the next attempt when there were so many (wire.md 2.2).
func (s *Scheduler) backoff(tries int) time.Duration {
	d := maxRetryDelay
	if n := tries - 1; n < 16 {
		d = min(d, s.opt.RetryDelay<<n)
	}
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // not a secret
}

// again waits out a delay without a slot and gets one again, before the other jobs of the same
// caller.
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

// attempt runs the job once. The result is how the job ends if no further attempt is made.
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
		// The runner takes it for a cancel; it is the one deadline that has struck.
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
	case e.hub.Begun(): // against the Runner's contract
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

// launchObserver reports to the breaker that the launch worked.
type launchObserver struct {
	job.Observer
	leave *breaker.Permit
}

func (l launchObserver) Started() {
	l.leave.Launched()
	l.Observer.Started()
}

// contained calls the runner and turns its panic, and an answer that is none, into an error.
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

// mark puts the start mark of this attempt into the store, before the job is dispatched.
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

// unmark takes it back. When that fails the next life of the daemon takes the job for one that had
// started.
func (s *Scheduler) unmark(ctx context.Context, e *entry) {
	if !e.marked {
		return
	}
	if err := s.write(ctx, "queue a job again", e, func(ctx context.Context) error { return s.opt.Store.Requeue(ctx, e.id) }); err == nil {
		e.marked = false
	}
}

// write calls the store, more than once when it fails in a way that may pass.
func (s *Scheduler) write(ctx context.Context, what string, e *entry, call func(context.Context) error) error {
	for i := 0; ; i++ {
		bounded, cancel := context.WithTimeout(ctx, storeBound)
		err := call(bounded)
		cancel()
		if err == nil {
			return nil
		}
		s.log.Error(what, "id", e.id, "error", err)
		if i == len(writeDelays) || errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrTerminal) || errors.Is(err, job.ErrTransition) {
			return err // time does not cure it
		}
		time.Sleep(writeDelays[i])
	}
}

// addDeadLetter puts an unexpected failure inside tsubo into the dead letter queue.
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

// byCause is the result of a run that was ended from outside and left none.
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

// overrun is a run that the watchdog ended: a timeout, with what output there is (wire.md 2.2).
func overrun(r *job.Result, spec *job.Spec) *job.Result {
	out := job.Result{}
	if r != nil {
		out = *r
	}
	v := job.Classify(job.Facts{Cause: job.Overrun, Phase: job.PhaseExecution, Timeout: spec.Timeout})
	out.Status, out.ExitCode, out.Error = v.Status, v.ExitCode, v.Error
	return &out
}
