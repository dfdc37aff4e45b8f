package scheduler

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/events"
)

// entry is one job from the moment in which it asks for a place until its end has been published.
type entry struct {
	id, caller, kind string
	async            bool
	created          time.Time

	// What the job is. Of an asynchronous job that waits all three are nil: they are in the store.
	record  *job.Record
	request *job.Request
	spec    *job.Spec

	need    int64           // bytes of the budget
	cleared <-chan struct{} // closed when the last attempt holds none of them any more; nil when that is so already
	longest time.Duration   // startup_timeout + timeout
	turn    chan turn       // of the goroutine that waits for the job's turn, holds one; nil while the job has no goroutine
	held    bool            // it has a place and may not run yet: it is being written to the store
	at      place
	// engaged: somebody works on it, so that it counts in Scheduler.busy.
	engaged bool
	gone    bool // its end has been published

	ctx    context.Context // of its runs; its cause is why they are cut short
	cancel context.CancelCauseFunc
	hub    *events.Hub
	done   chan struct{} // closed when the job's end has been published; then
	final  job.Status    // it ended so,
	err    error         // or this is why it has no end here

	expiry    *time.Timer // of an asynchronous job in the queue, nil for none
	attempt   int         // index of the present or next attempt, over all lives of the daemon
	tries     int         // attempts so far in this life
	marked    bool        // the store has it as running
	begun     time.Time   // its turn came, this attempt
	first     time.Time   // its turn came, first attempt
	overtaken int         // how often a later job went first because this one did not fit
}

// place is where an entry is.
type place int

const (
	outside place = iota // not in the queue, holds nothing: between two attempts, or ending
	queued
	running // holds a slot and its need of the budget
)

// turn is what becomes of a waiting job: the zero value lets it run.
type turn struct {
	refusal   *job.Refusal
	cancelled bool
}

// forget lets go of what the job is, while an asynchronous one waits.
func (e *entry) forget() { e.record, e.request, e.spec = nil, nil, nil }
