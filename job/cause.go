package job

import "errors"

// Causes with which the context of a run is cancelled; the runner reads them with context.Cause and
// reports the outcome by them. A deadline that a run itself owns is not among them.
var (
	// ErrCancelRequested: somebody asked for the job's end. Status cancelled.
	ErrCancelRequested = errors.New("Execution was cancelled by user") //nolint:staticcheck // the wire's own sentence (wire.md 2.3)
	// ErrCallerGone: the caller of a synchronous run hung up. Status cancelled.
	ErrCallerGone = errors.New("Execution was cancelled: the caller hung up") //nolint:staticcheck // shown to callers beside the one above
	// ErrShutdown: the daemon stops and its drain time is over. Status failed, error interrupted.
	ErrShutdown = errors.New("Execution was interrupted by a server shutdown") //nolint:staticcheck // as above
	// ErrOverdue: a run outlived startup_timeout + timeout by so much that the runner's own
	// deadline cannot have worked. Status timeout, error execution_timeout (wire.md 2.2).
	ErrOverdue = errors.New("Execution did not end by its own deadline") //nolint:staticcheck // as above
)
