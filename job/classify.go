package job

import (
	"fmt"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Cause is why a run ended, when it was not the program's own doing. The daemon knows it from its
// own deadline, its own cancel and the leaf's own files; a program cannot make one up (rulings 7
// and 9). The first cause wins; who calls Classify has chosen.
type Cause int

// The causes.
const (
	OwnEnd          Cause = iota // the program exited or died by a signal that tsubo did not send
	StartupOverrun               // startup_timeout passed before the code's first byte
	Overrun                      // timeout passed
	OutOfMemory                  // memory.events oom_kill of the leaf, or memory.stat of one that thrashes
	OutOfPIDs                    // pids.events max of the leaf
	CancelRequested              // ErrCancelRequested or ErrCallerGone
	Interrupted                  // ErrShutdown
)

// Facts is what is known about the end of a run.
type Facts struct {
	Cause Cause
	// Reason replaces the standard message of CancelRequested and Interrupted when it is not empty.
	Reason string
	// Phase in which it ended.
	Phase Phase
	// ExitCode is the program's own; Signal is the one it died by, 0 for none. Both count for
	// OwnEnd and OutOfPIDs only. Unknown reports that neither is known, because the sandbox died
	// under the program.
	ExitCode int
	Signal   syscall.Signal
	Unknown  bool
	// MemoryReached reports that the leaf's own counters show that the job's memory limit was
	// reached.
	MemoryReached bool
	// Stderr is the END of what the program wrote to stderr: a few KiB suffice, and its first line
	// may be cut.
	Stderr []byte
	// Timeout and StartupTimeout are what the job had.
	Timeout, StartupTimeout time.Duration
}

// Verdict is how a run ended, as its record has it.
type Verdict struct {
	Status   Status
	ExitCode *int
	Error    *Error
}

// signalTypes is wire.md 3.1 step 6 for deaths by signal, with file_size of ruling 7.
var signalTypes = map[syscall.Signal]ErrorType{
	syscall.SIGTERM: TypeCancelled,
	syscall.SIGSEGV: TypeSegfault,
	syscall.SIGABRT: TypeAbort,
	syscall.SIGFPE:  TypeArithmetic,
	syscall.SIGBUS:  TypeBus,
	syscall.SIGPIPE: TypePipe,
	syscall.SIGKILL: TypeKilled,
	syscall.SIGXFSZ: TypeFileSize,
}

// Classify is wire.md 3.1 under rulings 7 and 9: the status, the exit code and the error of a run
// from facts alone.
func Classify(f Facts) Verdict {
	end := func(s Status, code int, t ErrorType, message string) Verdict {
		v := Verdict{Status: s, ExitCode: &code, Error: &Error{Type: t, Message: message}}
		if f.Phase != "" {
			phase := f.Phase
			v.Error.Phase = &phase
		}
		return v
	}
	reason := func(standard error) string {
		if f.Reason != "" {
			return shorten(Sanitize(f.Reason))
		}
		return standard.Error()
	}
	switch f.Cause {
	case StartupOverrun:
		return end(Timeout, 124, TypeStartupTimeout, fmt.Sprintf("Startup exceeded time limit (%ss)", seconds(f.StartupTimeout)))
	case Overrun:
		return end(Timeout, 124, TypeExecutionTimeout, fmt.Sprintf("Code execution exceeded time limit (%ss)", seconds(f.Timeout)))
	case OutOfMemory:
		return end(OOM, 137, TypeOOM, "Execution exceeded memory limit")
	case CancelRequested:
		v := end(Cancelled, 0, TypeCancelled, reason(ErrCancelRequested))
		v.ExitCode = nil
		return v
	case Interrupted:
		return end(Failed, -1, TypeInterrupted, reason(ErrShutdown))
	}

	code := f.ExitCode
	if f.Signal != 0 {
		code = 128 + int(f.Signal)
	}
	switch {
	case f.Cause == OutOfPIDs && f.Unknown:
		return end(Failed, -1, TypePIDsLimit, "Execution exceeded process limit")
	case f.Unknown:
		return end(Failed, -1, TypeInternal, "The sandbox ended without telling how the program did")
	case code == 0:
		return Verdict{Status: Succeeded, ExitCode: &code}
	case f.Cause == OutOfPIDs:
		return end(Failed, code, TypePIDsLimit, "Execution exceeded process limit")
	case f.Signal != 0:
		t, known := signalTypes[f.Signal]
		if !known {
			t = TypeRuntime
		}
		line, memory := fatalLine(f.Stderr)
		if memory && f.MemoryReached && t == TypeAbort {
			t = TypeOOM
		}
		if line != "" {
			return end(Failed, code, t, shorten(Sanitize(line)))
		}
		return end(Failed, code, t, lastLine(beforeStack(f.Stderr), code))
	}
	line, t := exceptionLine(f.Stderr)
	if line == "" {
		line, t = nodeExceptionLine(f.Stderr)
	}
	if line != "" {
		if t == outOfMemory {
			if t = TypeRuntime; f.MemoryReached {
				t = TypeOOM
			}
		}
		return end(Failed, code, t, shorten(Sanitize(line)))
	}
	return end(Failed, code, TypeRuntime, lastLine(f.Stderr, code))
}

// FailedResult is the result of a run that did not take place or whose sandbox failed:
// infrastructure, so exit code -1. The message must be safe to show; it is sanitised and shortened
// all the same.
func FailedResult(t ErrorType, phase Phase, message string) *Result {
	code := -1
	r := &Result{Status: Failed, ExitCode: &code, Error: &Error{Type: t, Message: shorten(Sanitize(message))}}
	if phase != "" {
		r.Error.Phase = &phase
	}
	return r
}

func seconds(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", d.Seconds()), "0"), ".")
}

// shorten keeps the first 200 characters.
func shorten(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	n := 0
	for i := range s {
		if n == 200 {
			return s[:i]
		}
		n++
	}
	return s
}

func lastLine(stderr []byte, code int) string {
	text := strings.TrimSpace(Decode(stderr))
	line := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if line == "" {
		return fmt.Sprintf("Exit code %d", code)
	}
	return shorten(Sanitize(line))
}

// outOfMemory is the type of an exception for a refused allocation: oom if the leaf's counters show
// that the limit was reached, which a program cannot state, else runtime_error.
const outOfMemory ErrorType = "out of memory"

// exceptionTypes maps the class of a Python exception to its error type; a class that is not here
// is a runtime_error.
var exceptionTypes = map[string]ErrorType{
	"MemoryError":            outOfMemory,
	"_ArrayMemoryError":      outOfMemory, // numpy's
	"PermissionError":        "permission",
	"SyntaxError":            "syntax_error",
	"IndentationError":       "syntax_error",
	"TabError":               "syntax_error",
	"ImportError":            "import_error",
	"ModuleNotFoundError":    "import_error",
	"TypeError":              "type_error",
	"ValueError":             "value_error",
	"KeyError":               "key_error",
	"IndexError":             "index_error",
	"AttributeError":         "attribute_error",
	"NameError":              "name_error",
	"UnboundLocalError":      "name_error",
	"FileNotFoundError":      "file_not_found",
	"IsADirectoryError":      "file_error",
	"NotADirectoryError":     "file_error",
	"FileExistsError":        "file_error",
	"OSError":                "os_error",
	"IOError":                "os_error",
	"BlockingIOError":        "os_error",
	"BrokenPipeError":        "os_error",
	"ChildProcessError":      "os_error",
	"InterruptedError":       "os_error",
	"ProcessLookupError":     "os_error",
	"RecursionError":         "recursion_error",
	"AssertionError":         "assertion_error",
	"ZeroDivisionError":      "division_error",
	"OverflowError":          "overflow_error",
	"UnicodeError":           "encoding_error",
	"UnicodeDecodeError":     "encoding_error",
	"UnicodeEncodeError":     "encoding_error",
	"UnicodeTranslateError":  "encoding_error",
	"JSONDecodeError":        "json_error",
	"ConnectionError":        "network_error",
	"ConnectionAbortedError": "network_error",
	"ConnectionRefusedError": "network_error",
	"ConnectionResetError":   "network_error",
	"gaierror":               "network_error",
	"URLError":               "network_error",
	"TimeoutError":           "network_timeout",
}
