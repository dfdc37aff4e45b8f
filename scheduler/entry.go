package scheduler

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler/events"
)

// entry is one job from its admission until its end has been published.
type entry struct {
	id, caller, kind string
	async            bool
	created          time.Time

	// All three are nil while an asynchronous job waits: the store has them.
	record  *job.Record
	request *job.Request
	spec    *job.Spec

	need int64 // bytes of the budget
	// cleared is closed when the last attempt has freed its memory. Nil means that it already has.
	cleared <-chan struct{}
	longest time.Duration // startup_timeout + timeout
	// turn wakes the goroutine that waits for the job's turn. Its capacity is 1. It is nil while
	// the job has no goroutine.
	turn chan turn
	held bool // it has a place, but the store is still writing it
	at   place
	// engaged is set while a goroutine works on the entry. It then counts in Scheduler.busy.
	engaged bool
	gone    bool // its end has been published

	ctx    context.Context // of the job's runs; its cause is why they were cancelled
	cancel context.CancelCauseFunc
	hub    *events.Hub
	done   chan struct{} // closed when the job's end has been published
	final  job.Status    // status after done is closed, if err is nil
	err    error         // why the job has no end in this process

	expiry    *time.Timer // queue TTL of an asynchronous job; nil means none
	attempt   int         // index of the current or next attempt, across restarts of the daemon
	tries     int         // attempts since the daemon started
	marked    bool        // the store has the job as running
	begun     time.Time   // when this attempt got its slot
	first     time.Time   // when the first attempt got its slot
	overtaken int         // later jobs that started first because this job did not fit
}

// place is an entry's position between queue and slot.
type place int

const (
	outside place = iota // not queued and without a slot: between two attempts, or ending
	queued
	running // holds a slot and its share of the budget
)

// turn is the outcome of waiting for a slot. The zero value means that the job may run.
type turn struct {
	refusal   *job.Refusal
	cancelled bool
}

// forget drops the record, request and spec of an asynchronous job that waits.
func (e *entry) forget() { e.record, e.request, e.spec = nil, nil, nil }
