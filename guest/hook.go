package guest

import (
	"strconv"

	"github.com/tsubo-run/tsubo/frames"
)

// These constants belong to the protocol between init and the hook of the waiting interpreter.
//
// The interpreter starts as if to run its program, /code/main.py, before that file exists. Our hook
// runs at the end of the interpreter's start-up, just before it opens the program. Descriptor 3 is
// the hook's end of a socket. A message to the hook consists of
//
//	8 digits   the length of the rest, in bytes
//	then       fields that each end in NUL
//
// The first message, the modules to preload, is in the socket before the interpreter starts. The
// hook imports them, sends 'R' and waits. On failure it sends 'F' with an error text and exits.
//
// The second message contains the number of arguments, the arguments, and the program's path, or ""
// if the program is the file that the interpreter was started with. Changes of the environment
// follow ("K=V" sets, "K" removes). For CPython there is also "=PROGRAM" if its file is no zip
// archive, which the interpreter would otherwise find out by reading the file once more. CPython
// has fixed the path of its program by then. For another path the hook executes the interpreter
// again, without the hook; the message then has the interpreter's path and the whole environment
// instead of changes.
//
// Finally the hook removes every trace of itself and returns, and the interpreter runs the file
// natively. What the kernel recorded at the exec stays: /proc/self/environ has the variable that
// loads the hook and lacks Run.Env, and /proc/self/cmdline lacks Run.Args. Variables that the
// interpreter reads when it starts (PYTHON…, NODE_…) work in Boot.Env and come too late in Run.Env.
const (
	hookMark = 'R'
	hookFail = 'F'
)

// runner describes how to start a language's interpreter so that it loads its hook and waits.
type runner struct {
	name string   // the executable, looked up in PATH
	args []string // the arguments, with the program last
	// cpython is set if the hook accepts environment changes without a name ("=PROGRAM").
	cpython bool
	many    bool // the interpreter starts threads itself
	// variable makes the interpreter load the hook. Its value is value, then sep, then the value
	// from the job's environment.
	variable, value, sep string
}

// runnerOf returns the runner of a language that waits.
func runnerOf(l frames.Language) runner {
	if l == frames.Node {
		return runner{
			name:     "node",
			args:     []string{codeDir + "/main.js"},
			many:     true,
			variable: "NODE_OPTIONS",
			value:    "--require=/.tsubo/node/wait.js",
			sep:      " ",
		}
	}
	// The interpreter ignores an empty PYTHONPATH, but takes an empty entry as the working
	// directory.
	return runner{
		name:     "python3",
		args:     []string{"-u", codeDir + "/main.py"},
		cpython:  true,
		variable: "PYTHONPATH",
		value:    "/.tsubo/python",
		sep:      ":",
	}
}

// environment returns env with the variable that makes the interpreter load the hook.
func (r runner) environment(env []string) []string {
	value := r.value
	if old, _ := getenv(env, r.variable); old != "" {
		value += r.sep + old
	}
	return setenv(env, r.variable, value)
}

// undo returns the change of the environment that reverts [runner.environment].
func (r runner) undo(env []string) string {
	if old, ok := getenv(env, r.variable); ok {
		return r.variable + "=" + old
	}
	return r.variable
}

// park starts the interpreter and returns once the hook waits.
func (g *guest) park() *failure {
	r := runnerOf(g.boot.Language)
	path, ok := lookPath(r.name, g.boot.Env)
	if !ok {
		return fail(frames.StageExec, r.name+" not found in PATH", nil)
	}
	first := hookMessage(g.boot.Preload)
	if f := g.start(path, append([]string{r.name}, r.args...), r.environment(g.boot.Env), first); f != nil {
		return f
	}
	fds := []pollFD{{fd: int32(g.job.hook), events: pollIn}, {fd: control, events: pollIn}}
	for {
		if err := poll(fds, -1); err != nil {
			return fail(frames.StageSetup, "poll", err)
		}
		if fds[1].revents != 0 {
			// Early frames stay in the buffer. Only EOF matters now.
			if err := g.in.Fill(); err != nil {
				return readFailure(err)
			}
			fds[1].fd = -1
		}
		if fds[0].revents == 0 {
			continue
		}
		b := make([]byte, 1+frames.MaxText)
		n, err := readFD(g.job.hook, b)
		switch {
		case err != nil || n == 0:
			return g.diedEarly()
		case b[0] == hookFail:
			return fail(frames.StageExec, string(b[1:n]), nil)
		case b[0] != hookMark || n > 1:
			return fail(frames.StageExec, notWaiting, nil)
		}
		if len(g.boot.Preload) > 0 {
			return g.checkPreload()
		}
		return nil
	}
}

// checkPreload returns a failure unless the imported modules left nothing but the waiting
// interpreter. Their output would become the job's output, and their processes and threads would
// run beside the job.
func (g *guest) checkPreload() *failure {
	for _, fd := range []int{g.job.stdout, g.job.stderr} {
		if n, err := readable(fd); err != nil {
			return fail(frames.StageSetup, "check a pipe", err)
		} else if n > 0 {
			return fail(frames.StageExec,
				"a preloaded module writes output when it is imported: it cannot be preloaded", nil)
		}
	}
	pid := strconv.Itoa(g.job.pid)
	if n, err := numbers("/proc/" + pid + "/task"); err != nil {
		return fail(frames.StageSetup, "count threads", err)
	} else if n > 1 && !runnerOf(g.boot.Language).many {
		return fail(frames.StageExec, "a preloaded module starts threads when it is imported ("+strconv.Itoa(n-1)+
			"): it cannot be preloaded, unless a variable of its own in environment stops it", nil)
	}
	// Two processes are expected: init and the interpreter.
	if n, err := numbers("/proc"); err != nil {
		return fail(frames.StageSetup, "count processes", err)
	} else if n > 2 {
		return fail(frames.StageExec,
			"a preloaded module leaves processes when it is imported ("+strconv.Itoa(n-2)+"): it cannot be preloaded",
			nil)
	}
	return nil
}

// numbers counts the numeric entries of a directory in /proc.
func numbers(path string) (int, error) {
	dir, err := openDir(path)
	if err != nil {
		return 0, err
	}
	defer closeFD(&dir)
	names, _, err := list(dir, 1<<16)
	n := 0
	for _, name := range names {
		if name[0] >= '0' && name[0] <= '9' {
			n++
		}
	}
	return n, err
}

const notWaiting = "the interpreter did not wait for the code"

// diedEarly returns how the interpreter exited instead of waiting, with the last line of its
// stderr.
func (g *guest) diedEarly() *failure {
	what := notWaiting
	if g.awaitEnd(2000) {
		what = "the interpreter ended before it was ready, with "
		if s := g.job.status; s.Signaled() {
			what += "signal " + strconv.Itoa(int(s.Signal()))
		} else {
			what += "exit code " + strconv.Itoa(s.ExitStatus())
		}
		buf := make([]byte, 4096)
		if n, err := readFD(g.job.stderr, buf); err == nil {
			if line := lastLine(buf[:n]); line != "" {
				what += ": " + line
			}
		}
	}
	return fail(frames.StageExec, what, nil)
}

func lastLine(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			return string(b[i+1:])
		}
	}
	return string(b)
}

// jobMessage returns the message that lets the waiting hook run the job.
func (g *guest) jobMessage() []byte {
	r := runnerOf(g.boot.Language)
	fields := make([]string, 0, 4+len(g.spec.Args)+len(g.spec.Env))
	fields = append(append(fields, strconv.Itoa(len(g.spec.Args))), g.spec.Args...)
	if g.spec.Program == "" {
		fields = append(fields, "")
	} else {
		fields = append(fields, codeDir+"/"+g.spec.Program)
		if r.cpython {
			path, _ := lookPath(r.name, g.boot.Env) // cannot fail: park has found the same path
			return hookMessage(append(append(fields, path), overlay(g.boot.Env, g.spec.Env)...))
		}
	}
	fields = append(append(fields, r.undo(g.boot.Env)), g.spec.Env...)
	if r.cpython && !g.archive {
		fields = append(fields, "="+r.args[len(r.args)-1])
	}
	return hookMessage(fields)
}

// hookMessage encodes a message to the hook.
func hookMessage(fields []string) []byte {
	b := []byte("00000000")
	for _, s := range fields {
		b = append(append(b, s...), 0)
	}
	n := strconv.Itoa(len(b) - 8)
	copy(b[8-len(n):8], n)
	return b
}
