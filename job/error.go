package job

// ErrorType is the closed list of wire.md 3.1 with the additions of ruling 7.
type ErrorType string

// Error types that tsubo itself decides; the types of language failures are made by package classify rules in sandbox.
const (
	ErrTimeout          ErrorType = "timeout"
	ErrStartupTimeout   ErrorType = "startup_timeout"
	ErrExecutionTimeout ErrorType = "execution_timeout"
	ErrOOM              ErrorType = "oom"
	ErrPIDsLimit        ErrorType = "pids_limit"
	ErrFileSize         ErrorType = "file_size"
	ErrCancelled        ErrorType = "cancelled"
	ErrKilled           ErrorType = "killed"
	ErrSegfault         ErrorType = "segfault"
	ErrAbort            ErrorType = "abort"
	ErrArithmetic       ErrorType = "arithmetic_error"
	ErrBus              ErrorType = "bus_error"
	ErrPipe             ErrorType = "pipe_error"
	ErrUnavailable      ErrorType = "service_unavailable"
	ErrConfig           ErrorType = "config_error"
	ErrInternal         ErrorType = "internal_error"
	ErrInterrupted      ErrorType = "interrupted"
	ErrRuntime          ErrorType = "runtime_error"
)
