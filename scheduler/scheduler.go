package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Runner runs one job to its end. It owns the job's own deadlines (startup_timeout, timeout). When ctx is cancelled it ends the job
// at once and reports what there is of it, by context.Cause(ctx), which is one of the causes of package job. An error means that
// tsubo failed, never that the program did; a *job.Refusal among them is shown to the caller. Run returns only when nothing of the
// job holds memory any more, since its share of the budget is free from then on.
type Runner interface {
	Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error)
}

// Options of a Scheduler. All are required except Log.
type Options struct {
	Runner    Runner
	Budget    int64 // bytes that the leaves of all running jobs may have together
	Allowance int64 // bytes that a leaf holds beyond its job's own memory limit
	Workers   int   // jobs that run at the same time
	Queue     int   // jobs that wait
	Log       *slog.Logger
}

const (
	// overdueAfter is how long past startup_timeout + timeout the scheduler itself ends a run (wire.md 2.2).
	overdueAfter = 60 * time.Second
	// killWait is how long Stop waits for runs that it has cancelled.
	killWait = 15 * time.Second
)

// Scheduler is safe for concurrent use.
type Scheduler struct {
	opt Options
	log *slog.Logger

	mu      sync.Mutex
	state   state
	queue   queue
	running map[*entry]struct{}
	byID    map[string]*entry // queued and running
	used    int64             // bytes of the budget in use
	mean    time.Duration     // moving mean of how long runs take, 0 before the first has ended
	drained chan struct{}     // closed when stopping and nothing runs
}

type state int

const (
	notStarted state = iota
	open
	stopping
)

// New checks the options and returns a Scheduler that refuses everything until Start.
func New(o Options) (*Scheduler, error) {
	switch {
	case o.Runner == nil:
		return nil, errors.New("scheduler: no runner")
	case o.Workers < 1 || o.Queue < 1:
		return nil, fmt.Errorf("scheduler: %d workers and a queue of %d: both must be at least 1", o.Workers, o.Queue)
	case o.Budget <= 0 || o.Allowance < 0:
		return nil, fmt.Errorf("scheduler: budget of %d bytes with an allowance of %d", o.Budget, o.Allowance)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		opt: o, log: log,
		running: map[*entry]struct{}{}, byID: map[string]*entry{}, drained: make(chan struct{}),
	}, nil
}

// Start lets jobs in. It does nothing after Stop.
func (s *Scheduler) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == notStarted {
		s.state = open
	}
}

// Stop refuses new and waiting jobs, waits for running ones until ctx is done, then cancels them with job.ErrShutdown and waits a
// bounded time more. The error names how many runs are still there. Stop may be called first, twice, and concurrently.
func (s *Scheduler) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.state != stopping {
		s.state = stopping
		for _, e := range s.queue.clear() {
			s.settle(e, turn{refusal: s.unready()})
		}
		s.closeIfDrained()
	}
	s.mu.Unlock()

	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for e := range s.running {
		e.cancel(job.ErrShutdown)
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		return nil
	case <-time.After(killWait):
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("stop scheduler: %d runs did not end within %s of being cancelled", len(s.running), killWait)
	}
}

// Execute runs the job in the caller's goroutine once its turn has come, and returns its result. The program's failure and tsubo's
// own are values (the latter failed with service_unavailable, config_error or internal_error, exit code -1); the error is a
// *job.Refusal, or ctx's own when the caller went away while the job was queued: in both cases nothing of the job ran. When ctx ends later, the
// run is cancelled with job.ErrCallerGone and Execute still returns its result. o may be nil.
func (s *Scheduler) Execute(ctx context.Context, spec *job.Spec, o job.Observer) (*job.Result, error) {
	e, refusal := s.enter(ctx, spec)
	if refusal != nil {
		return nil, refusal
	}
	patience := time.NewTimer(spec.StartupTimeout)
	defer patience.Stop()
	var t turn
	select {
	case t = <-e.turn:
	case <-ctx.Done():
		if !s.withdraw(e) {
			t = <-e.turn // it came at the same instant; the run below sees the cancelled context
			break
		}
		return nil, fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	case <-patience.C:
		if !s.withdraw(e) {
			t = <-e.turn
			break
		}
		return nil, s.busy(spec)
	}
	switch {
	case t.refusal != nil:
		return nil, t.refusal
	case t.cancelled:
		return ended(job.CancelRequested, job.ErrCancelRequested, job.PhaseStartup), nil
	}
	if o == nil {
		o = deaf{}
	}
	return s.run(ctx, e, o), nil
}

// Cancel ends the job with this id, wherever it is: a waiting one never starts, a running one is cut short and keeps its partial
// output (ruling 1). It reports whether there was such a job.
func (s *Scheduler) Cancel(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return false
	}
	if s.queue.remove(e) {
		s.settle(e, turn{cancelled: true})
		s.dispatch()
		return true
	}
	e.cancel(job.ErrCancelRequested)
	return true
}

// Stats is GET /pool/stats.
func (s *Scheduler) Stats() job.QueueStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return job.QueueStats{Pending: s.queue.len(), Running: len(s.running), MaxWorkers: s.opt.Workers, MaxQueueSize: s.opt.Queue}
}

// enter puts the job in its caller's line and lets in whoever may run now. When that leaves more jobs waiting than the queue
// holds, the newest of the caller who has most of them goes: a caller who floods the queue cannot keep others out.
func (s *Scheduler) enter(ctx context.Context, spec *job.Spec) (*entry, *job.Refusal) {
	need := spec.Limits.Memory + s.opt.Allowance
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != open:
		return nil, s.unready()
	case spec.Limits.Memory <= 0 || need > s.opt.Budget:
		return nil, job.Refuse(job.TooLarge, "The job needs %d bytes of memory, and all jobs together may have %d (memory_budget)", need, s.opt.Budget)
	case s.byID[spec.ID] != nil:
		return nil, job.Refuse(job.Conflict, "A job with this id is already there")
	}
	e := &entry{spec: spec, need: need, turn: make(chan turn, 1)}
	e.ctx, e.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s.byID[spec.ID] = e
	s.queue.push(e)
	s.dispatch()
	if s.queue.len() > s.opt.Queue {
		out := s.queue.displace(e)
		s.settle(out, turn{refusal: &job.Refusal{
			Reason: job.QueueFull, Message: "Job queue is full, try again later", RetryAfter: s.retryAfter(),
		}})
	}
	return e, nil
}

// dispatch gives their turn to waiting jobs while they fit. s.mu is held.
func (s *Scheduler) dispatch() {
	for len(s.running) < s.opt.Workers {
		e := s.queue.next(s.opt.Budget - s.used)
		if e == nil {
			return
		}
		e.begun = time.Now()
		s.running[e] = struct{}{}
		s.used += e.need
		e.turn <- turn{}
	}
}

// settle ends an entry that is out of the queue and will not run. s.mu is held.
func (s *Scheduler) settle(e *entry, t turn) {
	delete(s.byID, e.spec.ID)
	e.cancel(nil)
	e.turn <- t
}

// withdraw takes the entry out of the queue and reports whether it was still there.
func (s *Scheduler) withdraw(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queue.remove(e) {
		return false
	}
	delete(s.byID, e.spec.ID)
	e.cancel(nil)
	s.dispatch() // it may have been the large job that held others back
	return true
}

func (s *Scheduler) run(ctx context.Context, e *entry, o job.Observer) *job.Result {
	defer s.leave(e)
	stop := context.AfterFunc(ctx, func() { e.cancel(job.ErrCallerGone) })
	defer stop()
	if ctx.Err() != nil {
		e.cancel(job.ErrCallerGone) // AfterFunc runs on a goroutine of its own, possibly later
	}
	overdue := time.AfterFunc(e.spec.StartupTimeout+e.spec.Timeout+overdueAfter, func() { e.cancel(job.ErrOverdue) })
	defer overdue.Stop()

	result, err := s.contained(e, o)
	if err == nil && result != nil {
		return result
	}
	cause := context.Cause(e.ctx)
	s.log.Error("run failed", "id", e.spec.ID, "cause", cause, "error", err)
	switch {
	case errors.Is(cause, job.ErrCancelRequested), errors.Is(cause, job.ErrCallerGone):
		return ended(job.CancelRequested, cause, job.PhaseExecution)
	case errors.Is(cause, job.ErrShutdown):
		return ended(job.Interrupted, cause, job.PhaseExecution)
	}
	var refusal *job.Refusal
	if !errors.As(err, &refusal) {
		return job.FailedResult(job.ErrInternal, job.PhaseStartup, "The sandbox failed; the server's log has the reason")
	}
	switch refusal.Reason {
	case job.NotFound, job.Invalid, job.TooLarge, job.Conflict:
		return job.FailedResult(job.ErrConfig, job.PhaseStartup, refusal.Message)
	default:
		return job.FailedResult(job.ErrUnavailable, job.PhaseStartup, refusal.Message)
	}
}

// contained calls the runner and turns its panic into an error.
func (s *Scheduler) contained(e *entry, o job.Observer) (result *job.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("runner panicked", "id", e.spec.ID, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, fmt.Errorf("runner panicked: %v", p)
		}
	}()
	result, err = s.opt.Runner.Run(e.ctx, e.spec, o)
	if err == nil && result == nil {
		err = errors.New("runner returned neither result nor error")
	}
	return result, err
}

func (s *Scheduler) leave(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.cancel(nil)
	delete(s.running, e)
	delete(s.byID, e.spec.ID)
	s.used -= e.need
	took := time.Since(e.begun)
	if s.mean == 0 {
		s.mean = took
	} else {
		s.mean += (took - s.mean) / 8
	}
	s.dispatch()
	s.closeIfDrained()
}

func (s *Scheduler) closeIfDrained() {
	if s.state != stopping || len(s.running) > 0 {
		return
	}
	select {
	case <-s.drained:
	default:
		close(s.drained)
	}
}

func (s *Scheduler) unready() *job.Refusal {
	r := &job.Refusal{Reason: job.Unready, Message: "Server is not ready yet, try again later", RetryAfter: time.Second}
	if s.state == stopping {
		r.Message = "Server is shutting down, try again later"
	}
	return r
}

func (s *Scheduler) busy(spec *job.Spec) *job.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &job.Refusal{
		Reason:     job.Busy,
		Message:    fmt.Sprintf("No slot came free within startup_timeout (%g seconds), try again later", spec.StartupTimeout.Seconds()),
		RetryAfter: s.retryAfter(),
	}
}

// retryAfter guesses when the next running job ends, from its deadline and from how long runs took lately: whole seconds from 1 to
// maxRetryAfter, since a client may sleep it out. s.mu is held.
func (s *Scheduler) retryAfter() time.Duration {
	const maxRetryAfter = 10 * time.Second
	guess := maxRetryAfter
	for e := range s.running {
		ran := time.Since(e.begun)
		left := e.spec.StartupTimeout + e.spec.Timeout - ran
		if s.mean > 0 {
			left = min(left, s.mean-ran)
		}
		guess = min(guess, left)
	}
	return max(time.Second, (guess + time.Second - 1).Truncate(time.Second))
}

func ended(c job.Cause, reason error, phase job.Phase) *job.Result {
	v := job.Classify(job.Facts{Cause: c, Reason: reason.Error(), Phase: phase})
	return &job.Result{Status: v.Status, ExitCode: v.ExitCode, Error: v.Error}
}

// deaf is the observer of a run that nobody watches.
type deaf struct{}

func (deaf) Started()      {}
func (deaf) Stdout([]byte) {}
func (deaf) Stderr([]byte) {}
