package job

import (
	"errors"
	"time"
)

// Errors of a store besides ErrNotFound, ErrFingerprint and ErrNotTerminal.
var (
	// ErrTerminal: the record is of a job that has ended, and such a record never changes again.
	ErrTerminal = errors.New("the job has ended")
	// ErrTransition: Status.CanBecome does not allow it.
	ErrTransition = errors.New("the job cannot change its status so")
	// ErrNoSpace: the disk, or what the store may use of it, is full. Nothing of what was to be
	// kept is kept.
	ErrNoSpace = errors.New("no space left to keep it")
)

// Retention bounds what a purge leaves. A zero field sets no limit.
type Retention struct {
	Records     time.Duration // since their end
	DeadLetters time.Duration // since they were made
	CallerBytes int64         // of each caller
	TotalBytes  int64         // of all callers together
}

// PurgeResult counts what a purge removed.
type PurgeResult struct {
	Records     int
	DeadLetters int
	Artifacts   int // files
}
