package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/breaker"
	"github.com/tsubo-run/tsubo/scheduler/events"
)

// Runner runs one job to its end and enforces the job's own deadlines (startup_timeout, timeout).
//
// When ctx is cancelled, Run ends the job at once and returns its partial result, by
// context.Cause(ctx), which is one of package job's causes. An error means that tsubo failed before
// the code's first byte, never that the program failed; the job may be retried. A *job.Refusal
// error is shown to the caller. The job's share of the budget is free once Run has returned and
// Result.Cleared is closed.
type Runner interface {
	Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error)
}

// Options configures a [Scheduler]. All fields are required except where noted.
type Options struct {
	Runner Runner
	Store  Store
	// Resolve returns the Spec of a job that was accepted earlier, under the current policy. A
	// *job.Refusal ends the job.
	Resolve func(*job.Record, *job.Request) (*job.Spec, error)
	// RetryOnInterrupt reports whether jobs of a type are run again after an interruption. Nil
	// means never.
	RetryOnInterrupt func(jobType string) bool

	Budget    int64 // bytes for the leaves of all running jobs together
	Allowance int64 // bytes that a leaf may hold beyond its job's memory limit
	Workers   int   // maximum of concurrent runs
	// Room receives the number of budget bytes that jobs leave free. Calls are in order and made
	// under a lock, so Room must return quickly. Nil means no calls.
	Room  func(bytes int64)
	Queue int // maximum of waiting jobs

	MaxTries   int           // attempts in all when the infrastructure fails; zero means 2
	RetryDelay time.Duration // before the second attempt, doubled for each further one; zero means 1 s
	QueueTTL   time.Duration // longest wait of an asynchronous job; zero means no limit
	Runtime    string        // Enforced.Runtime of jobs that end before anything is started
	Holder     string        // identifies this daemon process in leases; empty means generated
	Log        *slog.Logger  // nil means no log
}

const (
	// overdueAfter is the time after startup_timeout + timeout at which the scheduler itself ends a
	// run (wire.md 2.2).
	overdueAfter = 60 * time.Second
	// killWait limits how long Stop waits for runs that it has cancelled.
	killWait = 15 * time.Second
	// leaseFor is the lifetime of a start mark without renewal.
	leaseFor = time.Minute
)

// Scheduler admits, queues and runs jobs. It is safe for concurrent use.
type Scheduler struct {
	opt     Options
	log     *slog.Logger
	breaker breaker.Group

	mu       sync.Mutex
	state    state
	queue    queue
	running  map[*entry]struct{}
	byID     map[string]*entry // queued, running, and between attempts
	ended    events.Ended
	used     int64         // bytes of the budget in use
	busy     int           // engaged entries; Stop waits for them
	mean     time.Duration // moving mean of run times, zero before the first run has ended
	stopping chan struct{} // closed by Stop
	drained  chan struct{} // closed when stopping and busy is 0
	leases   chan struct{} // closed when renewLeases has returned
}

type state int

const (
	notStarted state = iota
	open
	closing
)

// New checks the options and returns a [Scheduler] that refuses all jobs until Start.
func New(o Options) (*Scheduler, error) {
	switch {
	case o.Runner == nil || o.Store == nil || o.Resolve == nil:
		return nil, errors.New("scheduler: no runner, store or resolver")
	case o.Workers < 1 || o.Queue < 1:
		return nil, fmt.Errorf("scheduler: %d workers and a queue of %d: both must be at least 1", o.Workers, o.Queue)
	case o.Budget <= 0 || o.Allowance < 0:
		return nil, fmt.Errorf("scheduler: budget of %d bytes with an allowance of %d", o.Budget, o.Allowance)
	case o.MaxTries < 0 || o.RetryDelay < 0 || o.QueueTTL < 0:
		return nil, fmt.Errorf("scheduler: %d attempts, delay %s, queue ttl %s: none may be negative", o.MaxTries,
			o.RetryDelay, o.QueueTTL)
	}
	if o.MaxTries == 0 {
		o.MaxTries = 2
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Second
	}
	if o.RetryOnInterrupt == nil {
		o.RetryOnInterrupt = func(string) bool { return false }
	}
	if o.Holder == "" {
		o.Holder = holder()
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{
		opt: o, log: log, running: map[*entry]struct{}{}, byID: map[string]*entry{},
		stopping: make(chan struct{}), drained: make(chan struct{}), leases: make(chan struct{}),
	}, nil
}

// holder returns "<host>-<boot id>-<pid>", which is unique to this daemon process.
func holder() string {
	host, _ := os.Hostname()
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fmt.Sprintf("%s-%s-%d", host, strings.TrimSpace(string(boot)), os.Getpid())
}

// Start recovers the stored jobs of an earlier daemon (see reconcile), then admits jobs. It does
// nothing after Stop or on a second call.
func (s *Scheduler) Start(ctx context.Context) error {
	s.mu.Lock()
	started := s.state != notStarted
	s.mu.Unlock()
	if started {
		return nil
	}
	left, err := s.reconcile(ctx)
	if err != nil {
		return fmt.Errorf("start scheduler: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != notStarted {
		return nil
	}
	s.state = open
	for _, e := range left {
		s.byID[e.id] = e
		s.queue.push(e)
		s.armExpiry(e)
	}
	s.use(0)
	go s.renewLeases() //nolint:gosec // it outlives Start, whose context bounds the start
	s.dispatch()
	return nil
}

// Drain stops admitting and starting jobs and waits until no job runs, or for ctx. Queued jobs stay
// in the store; queued synchronous runs are refused. Drain may be called before Start, repeatedly
// and concurrently.
func (s *Scheduler) Drain(ctx context.Context) error {
	s.mu.Lock()
	if s.state != closing {
		began := s.state == open
		s.state = closing
		close(s.stopping)
		if !began {
			close(s.leases)
		}
		for _, e := range s.queue.clear() {
			s.turnAway(e)
		}
		s.closeIfDrained()
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		<-s.leases
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// turnAway ends the wait of an entry that Drain removed from the queue. s.mu must be held.
func (s *Scheduler) turnAway(e *entry) {
	switch {
	case e.turn != nil:
		e.turn <- turn{refusal: s.unready()}
	case e.held:
		// Submit notices when the store returns.
	default:
		s.dismiss(e, s.unready())
	}
}

// Stop drains the scheduler. If ctx ends first, Stop cancels the runs with job.ErrShutdown and
// waits up to killWait more. A cancelled job becomes failed/interrupted; it is queued again if its
// code had not begun or its type allows it. The error contains the number of runs that are still
// alive.
func (s *Scheduler) Stop(ctx context.Context) error {
	if s.Drain(ctx) == nil {
		return nil
	}
	s.mu.Lock()
	for _, e := range s.byID {
		e.cancel(job.ErrShutdown)
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		<-s.leases
		return nil
	case <-time.After(killWait):
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("stop scheduler: %d runs did not end within %s of being cancelled", s.busy, killWait)
	}
}

// Live returns the state of a job that waits or runs in this process. ok is false for any other
// job.
func (s *Scheduler) Live(id string) (job.Live, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.visible(id)
	if e == nil {
		return job.Live{}, false
	}
	live := job.Live{Status: job.Pending, Caller: e.caller}
	switch e.at {
	case running:
		live.Status = job.Running
	case queued:
		live.Position = s.queue.position(e)
	case outside: // between two attempts
		live.Position = 1
	}
	return live, true
}

// Running returns the records of the synchronous runs that have a slot; the store has no record of
// such a run before its end. Status is job.Running and StartedAt is the time at which the run got
// its slot. The caller owns the records.
func (s *Scheduler) Running() []*job.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*job.Record
	for _, e := range s.byID {
		if e.async || e.at != running || e.record == nil {
			continue
		}
		rec := *e.record
		rec.Status, rec.StartedAt = job.Running, e.begun.UTC()
		all = append(all, &rec)
	}
	return all
}

// Wait returns when the job has left the scheduler; its record is then in the store. It returns an
// error if ctx ends first, which does not affect the job, or if the daemon stops before the job has
// ended.
func (s *Scheduler) Wait(ctx context.Context, id string) error {
	s.mu.Lock()
	e := s.visible(id)
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("wait for a job: %w", context.Cause(ctx))
	}
}

// Events returns the live stream of a job, beginning after the event with ID after. Zero means all
// events. ok is false if the job neither is here nor ended a moment ago.
//
// A complete stream ends with job.EventResult. Without that event the stream was cut: ctx ended,
// the daemon stopped, or the record could not be written. A slow reader does not slow the job;
// job.EventGap reports the events that the reader missed. The stream may be ranged over once.
func (s *Scheduler) Events(ctx context.Context, id string, after uint64) (stream iter.Seq[job.Event], ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.ended.Get(id)
	if e := s.visible(id); e != nil {
		h = e.hub
	}
	if h == nil {
		return nil, false
	}
	return h.Read(ctx, after), true
}

// visible returns the job with this ID, or nil if there is none or it is not accepted yet. s.mu
// must be held.
func (s *Scheduler) visible(id string) *entry {
	if e := s.byID[id]; e != nil && !e.held {
		return e
	}
	return nil
}

// Stats returns the queue's part of GET /pool/stats.
func (s *Scheduler) Stats() job.QueueStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return job.QueueStats{Pending: s.queue.len(), Running: len(s.running), MaxWorkers: s.opt.Workers,
		MaxQueueSize: s.opt.Queue}
}

// Breaker returns the state of the launch breaker.
func (s *Scheduler) Breaker() job.Breaker { return s.breaker.State() }

// dispatch starts waiting jobs while they fit. s.mu must be held.
func (s *Scheduler) dispatch() {
	for len(s.running) < s.opt.Workers {
		e := s.queue.next(s.opt.Budget - s.used)
		if e == nil {
			return
		}
		s.acquireSlot(e)
		s.engage(e)
		if e.turn != nil {
			e.turn <- turn{}
			continue
		}
		e.turn = make(chan turn, 1)
		go s.work(e)
	}
}

// acquireSlot gives the entry a slot and its share of the budget. s.mu must be held.
func (s *Scheduler) acquireSlot(e *entry) {
	e.at = running
	e.begun = time.Now()
	if e.first.IsZero() {
		e.first = e.begun
	}
	if e.expiry != nil {
		e.expiry.Stop()
	}
	s.running[e] = struct{}{}
	s.use(e.need)
}

// use takes bytes from the budget; a negative number returns them. s.mu must be held.
func (s *Scheduler) use(bytes int64) {
	s.used += bytes
	if s.opt.Room != nil {
		s.opt.Room(s.opt.Budget - s.used)
	}
}

// releaseSlot returns the entry's slot and its share of the budget. s.mu must be held.
func (s *Scheduler) releaseSlot(e *entry) {
	if e.at != running {
		return
	}
	e.at = outside
	delete(s.running, e)
	if cleared := e.cleared; cleared != nil {
		e.cleared = nil
		go s.clear(cleared, e.need)
	} else {
		s.use(-e.need)
	}
	took := time.Since(e.begun)
	if s.mean == 0 {
		s.mean = took
	} else {
		s.mean += (took - s.mean) / 8
	}
}

// clear returns bytes to the budget once cleared is closed. The slot is free earlier, so the next
// job may start if its memory fits.
func (s *Scheduler) clear(cleared <-chan struct{}, bytes int64) {
	<-cleared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use(-bytes)
	s.dispatch()
}

// dismiss releases the entry and wakes its waiters. err is nil if the record is stored. s.mu must
// be held.
func (s *Scheduler) dismiss(e *entry, err error) {
	if e.gone {
		return
	}
	e.gone = true
	s.releaseSlot(e)
	if e.engaged {
		e.engaged = false
		s.busy--
	}
	e.cancel(nil)
	if e.expiry != nil {
		e.expiry.Stop()
	}
	delete(s.byID, e.id)
	if err != nil {
		e.hub.Abandon() // no effect after End
	}
	e.err = err
	close(e.done)
	s.dispatch()
	s.closeIfDrained()
}

// engage marks the entry as being worked on; Stop waits until it is dismissed. s.mu must be held.
func (s *Scheduler) engage(e *entry) {
	if !e.engaged {
		e.engaged = true
		s.busy++
	}
}

func (s *Scheduler) closeIfDrained() {
	if s.state != closing || s.busy > 0 {
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
	if s.state == closing {
		r.Message = "Server is shutting down, try again later"
	}
	return r
}

// retryAfter returns when a refused caller may try again (ruling 27). s.mu must be held.
func (s *Scheduler) retryAfter() time.Duration {
	return retryAfter(s.queue.len(), s.opt.Workers, s.mean, rand.Float64()) //nolint:gosec // not a secret
}

// retryAfter returns the time in which the queue drains: queued × mean / slots, from 1 s to 30 s,
// in whole seconds. random, in [0, 1), varies the result by up to a fifth, so that refused callers
// do not return together. A zero mean is unknown.
func retryAfter(queued, slots int, mean time.Duration, random float64) time.Duration {
	const (
		unknown = 10 * time.Second
		most    = 30 * time.Second
	)
	guess := unknown
	if mean > 0 {
		guess = min(most, time.Duration(float64(queued)*float64(mean)/float64(slots)))
	}
	guess = time.Duration(float64(guess) * (0.8 + 0.4*random))
	return min(most, max(time.Second, (guess+time.Second-1).Truncate(time.Second)))
}

// renewLeases renews the leases of running jobs until the scheduler has drained.
func (s *Scheduler) renewLeases() {
	defer close(s.leases)
	tick := time.NewTicker(leaseFor / 3)
	defer tick.Stop()
	for {
		select {
		case <-s.drained:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		needed := false
		for e := range s.running {
			needed = needed || e.async
		}
		s.mu.Unlock()
		if !needed {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), leaseFor/3)
		if err := s.opt.Store.Renew(ctx, s.opt.Holder, time.Now().Add(leaseFor)); err != nil {
			s.log.Error("renew the leases of running jobs", "error", err)
		}
		cancel()
	}
}
