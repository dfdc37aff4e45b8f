package job

// ErrorType is the closed list of wire.md 3.1 with the additions of ruling 7.
type ErrorType string

// Error types that tsubo itself decides; the types of language failures are made by package
// classify rules in sandbox.
const (
	TypeTimeout          ErrorType = "timeout"
	TypeStartupTimeout   ErrorType = "startup_timeout"
	TypeExecutionTimeout ErrorType = "execution_timeout"
	TypeOOM              ErrorType = "oom"
	TypePIDsLimit        ErrorType = "pids_limit"
	TypeFileSize         ErrorType = "file_size"
	TypeCancelled        ErrorType = "cancelled"
	TypeKilled           ErrorType = "killed"
	TypeSegfault         ErrorType = "segfault"
	TypeAbort            ErrorType = "abort"
	TypeArithmetic       ErrorType = "arithmetic_error"
	TypeBus              ErrorType = "bus_error"
	TypePipe             ErrorType = "pipe_error"
	TypeUnavailable      ErrorType = "service_unavailable"
	TypeConfig           ErrorType = "config_error"
	TypeInternal         ErrorType = "internal_error"
	TypeInterrupted      ErrorType = "interrupted"
	TypeRuntime          ErrorType = "runtime_error"
)
