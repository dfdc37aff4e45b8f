package job

import (
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

const traceback = "Traceback (most recent call last):\n  File \"/code/main.py\", line 1, in <module>\n    f()\n    ^^^\n"

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   Facts
		status  Status
		code    int // -99: null
		kind    ErrorType
		message string
	}{
		{"success", Facts{Stderr: []byte("warning: ValueError\n")}, Succeeded, 0, "", ""},
		{"exception", Facts{ExitCode: 1, Stderr: []byte(traceback + "ValueError: bad\n")}, Failed, 1, "value_error", "ValueError: bad"},
		{"exception without text", Facts{ExitCode: 1, Stderr: []byte(traceback + "KeyError\n")}, Failed, 1, "key_error", "KeyError"},
		{"exception with a module", Facts{ExitCode: 1, Stderr: []byte(traceback + "json.decoder.JSONDecodeError: Expecting value: line 1\n")},
			Failed, 1, "json_error", "json.decoder.JSONDecodeError: Expecting value: line 1"},
		{"last of a chain", Facts{ExitCode: 1, Stderr: []byte(traceback + "ValueError: a\n\nDuring handling of the above exception, another exception occurred:\n\n" +
			traceback + "ZeroDivisionError: division by zero\n")}, Failed, 1, "division_error", "ZeroDivisionError: division by zero"},
		{"text of another class inside", Facts{ExitCode: 1, Stderr: []byte(traceback + "RuntimeError: not a ValueError\nValueError: second line\n")},
			Failed, 1, TypeRuntime, "RuntimeError: not a ValueError"},
		{"own class", Facts{ExitCode: 1, Stderr: []byte(traceback + "__main__.MyValueError: x\n")}, Failed, 1, TypeRuntime, "__main__.MyValueError: x"},
		{"syntax error", Facts{ExitCode: 1, Stderr: []byte("  File \"/code/main.py\", line 1\n    def (\n        ^\nSyntaxError: invalid syntax\n")},
			Failed, 1, "syntax_error", "SyntaxError: invalid syntax"},
		{"head cut off", Facts{ExitCode: 1, Stderr: []byte("in <module>\n    x()\n  File \"/code/main.py\", line 9, in x\n    y\nNameError: name 'y'\n")},
			Failed, 1, "name_error", "NameError: name 'y'"},
		{"finaliser fails after the program", Facts{ExitCode: 1, Stderr: []byte(traceback + "ValueError: real\n" +
			"Exception ignored in: <function A.__del__ at 0x7f>\n" + traceback + "TypeError: ignored\n")}, Failed, 1, "value_error", "ValueError: real"},
		{"thread fails, program exits 3", Facts{ExitCode: 3, Stderr: []byte("Exception in thread Thread-1 (f):\n" + traceback + "OSError: x\n")},
			Failed, 3, "os_error", "OSError: x"},
		{"memory error is no fact about the leaf", Facts{ExitCode: 1, Stderr: []byte(traceback + "MemoryError\n")}, Failed, 1, TypeRuntime, "MemoryError"},
		{"class named without a traceback", Facts{ExitCode: 2, Stderr: []byte("ValueError: I say so\n")}, Failed, 2, TypeRuntime, "ValueError: I say so"},
		{"SystemExit with text", Facts{ExitCode: 1, Stderr: []byte("that went wrong\n")}, Failed, 1, TypeRuntime, "that went wrong"},
		{"silent", Facts{ExitCode: 7}, Failed, 7, TypeRuntime, "Exit code 7"},
		{"exits 124 by itself", Facts{ExitCode: 124}, Failed, 124, TypeRuntime, "Exit code 124"},
		{"exits 137 by itself", Facts{ExitCode: 137}, Failed, 137, TypeRuntime, "Exit code 137"},
		{"exits 139 by itself", Facts{ExitCode: 139}, Failed, 139, TypeRuntime, "Exit code 139"},
		{"exits 143 by itself", Facts{ExitCode: 143}, Failed, 143, TypeRuntime, "Exit code 143"},
		{"SIGSEGV", Facts{Signal: syscall.SIGSEGV}, Failed, 139, TypeSegfault, "Exit code 139"},
		{"SIGABRT", Facts{Signal: syscall.SIGABRT, Stderr: []byte("abort: x\n")}, Failed, 134, TypeAbort, "abort: x"},
		{"SIGFPE", Facts{Signal: syscall.SIGFPE}, Failed, 136, TypeArithmetic, "Exit code 136"},
		{"SIGBUS", Facts{Signal: syscall.SIGBUS}, Failed, 135, TypeBus, "Exit code 135"},
		{"SIGPIPE", Facts{Signal: syscall.SIGPIPE}, Failed, 141, TypePipe, "Exit code 141"},
		{"SIGKILL", Facts{Signal: syscall.SIGKILL}, Failed, 137, TypeKilled, "Exit code 137"},
		{"SIGTERM", Facts{Signal: syscall.SIGTERM}, Failed, 143, TypeCancelled, "Exit code 143"},
		{"SIGXFSZ", Facts{Signal: syscall.SIGXFSZ}, Failed, 153, TypeFileSize, "Exit code 153"},
		{"SIGUSR1", Facts{Signal: syscall.SIGUSR1}, Failed, 138, TypeRuntime, "Exit code 138"},
		{"timeout", Facts{Cause: Overrun, Timeout: 30 * time.Second, ExitCode: 0}, Timeout, 124, TypeExecutionTimeout, "Code execution exceeded time limit (30s)"},
		{"startup timeout", Facts{Cause: StartupOverrun, StartupTimeout: 1500 * time.Millisecond}, Timeout, 124, TypeStartupTimeout, "Startup exceeded time limit (1.5s)"},
		{"oom", Facts{Cause: OutOfMemory, Unknown: true}, OOM, 137, TypeOOM, "Execution exceeded memory limit"},
		{"pids, sandbox gone", Facts{Cause: OutOfPIDs, Unknown: true}, Failed, -1, TypePIDsLimit, "Execution exceeded process limit"},
		{"pids, program failed", Facts{Cause: OutOfPIDs, ExitCode: 3}, Failed, 3, TypePIDsLimit, "Execution exceeded process limit"},
		{"pids, program went on", Facts{Cause: OutOfPIDs}, Succeeded, 0, "", ""},
		{"cancelled", Facts{Cause: CancelRequested}, Cancelled, -99, TypeCancelled, "Execution was cancelled by user"},
		{"hang-up", Facts{Cause: CancelRequested, Reason: ErrCallerGone.Error()}, Cancelled, -99, TypeCancelled, "Execution was cancelled: the caller hung up"},
		{"interrupted", Facts{Cause: Interrupted}, Failed, -1, TypeInterrupted, "Execution was interrupted by a server shutdown"},
		{"sandbox died", Facts{Unknown: true}, Failed, -1, TypeInternal, "The sandbox ended without telling how the program did"},
		{"message is sanitised", Facts{ExitCode: 1, Stderr: []byte(traceback + "OSError: /home/alice/x\n")}, Failed, 1, "os_error", "OSError: /home/***/x"},
		{"message is short", Facts{ExitCode: 1, Stderr: []byte(strings.Repeat("é", 500))}, Failed, 1, TypeRuntime, strings.Repeat("é", 200)},
	} {
		c.facts.Phase = PhaseExecution
		v := Classify(c.facts)
		code := -99
		if v.ExitCode != nil {
			code = *v.ExitCode
		}
		if v.Status != c.status || code != c.code {
			t.Errorf("%s: %s, exit code %d; want %s, %d", c.name, v.Status, code, c.status, c.code)
		}
		switch {
		case c.kind == "" && v.Error != nil:
			t.Errorf("%s: error %+v, want none", c.name, *v.Error)
		case c.kind != "" && v.Error == nil:
			t.Errorf("%s: no error", c.name)
		case c.kind != "" && (v.Error.Type != c.kind || v.Error.Message != c.message || v.Error.Phase == nil || *v.Error.Phase != PhaseExecution):
			t.Errorf("%s: error %+v, want %s %q in execution", c.name, *v.Error, c.kind, c.message)
		}
	}
}

// Whatever a job writes to stderr, the verdict stays a short, valid text and a type of the closed
// list.
func FuzzClassifyStderr(f *testing.F) {
	f.Add([]byte(traceback + "ValueError: x\n"))
	f.Add([]byte("  File \"x\", line 1\n\xff: \x00"))
	known := map[ErrorType]bool{TypeRuntime: true}
	for _, t := range exceptionTypes {
		known[t] = true
	}
	f.Fuzz(func(t *testing.T, stderr []byte) {
		v := Classify(Facts{ExitCode: 1, Stderr: stderr})
		if v.Status != Failed || *v.ExitCode != 1 || !known[v.Error.Type] {
			t.Errorf("%+v of %q", v, stderr)
		}
		if m := v.Error.Message; m == "" || !utf8.ValidString(m) || utf8.RuneCountInString(m) > 200 || strings.Contains(m, "\n") {
			t.Errorf("message %q of %q", m, stderr)
		}
	})
}
