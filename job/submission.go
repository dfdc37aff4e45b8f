package job

import "errors"

// Errors of a store about a record. A store wraps them in more detail.
var (
	// ErrNotFound: there is no such record, request, artifact or entry.
	ErrNotFound = errors.New("not found")
	// ErrFingerprint: the idempotency key belongs to a record of the same caller with another
	// fingerprint.
	ErrFingerprint = errors.New("idempotency key reused with different payload")
	// ErrNotTerminal: the record is of a job that has not ended.
	ErrNotTerminal = errors.New("the job has not ended")
)

// Submission is one job on its way into the scheduler: what will be kept of it, what was asked for,
// and what it became by Policy.
type Submission struct {
	Record  *Record
	Request *Request
	Spec    *Spec
}

// Live is where a job is that waits or runs in this daemon.
type Live struct {
	Status   Status // Pending or Running
	Position int    // 1-based estimate of its place in the queue; 0 when it runs
	Caller   string
}

// EventKind is the kind of an event of one job.
type EventKind string

// The events of a job, in this order; stdout and stderr come any number of times. A stream that
// ends without EventResult is broken.
const (
	EventQueued  EventKind = "queued"
	EventStarted EventKind = "started"
	EventStdout  EventKind = "stdout"
	EventStderr  EventKind = "stderr"
	EventResult  EventKind = "result"
	EventGap     EventKind = "gap" // events before this one are lost to this reader
)

// Event is one thing that happened to a job. IDs grow within a job and begin at 1; a gap has the ID
// of the last event that was lost.
type Event struct {
	ID     uint64
	Kind   EventKind
	Text   string  // of stdout and stderr: whole characters
	Record *Record // of EventResult: as the store has it
}
