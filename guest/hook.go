package guest

import (
	"strconv"

	"github.com/tsubo-run/tsubo/frames"
)

// The waiting interpreter. It is started as if to run its program, /code/main.py, before that file exists; a hook of ours, which the interpreter's
// own start-up runs just before it opens the program, has one end of a socket as descriptor 3. Messages to it are
//
//	8 digits   the length of what follows, in bytes
//	then       fields that each end in NUL
//
// The first is there before the interpreter is: the modules to preload. The hook imports them, says 'R' and waits; or it says 'F', a text of
// why not, and ends. The second has the number of arguments, the arguments, the program's
// path when it is not the one that the interpreter was started with, else "", and changes of the environment ("K=V" sets, "K" removes); for CPython
// also "=PROGRAM" when its file is no zip archive, which the interpreter would otherwise find out by opening and reading it once more.
// CPython has fixed the path of its program by then: for another one the hook executes the interpreter again, without the hook. The message then has
// the interpreter's path and the whole environment in the place of changes.
// Then the hook takes away every trace of itself and returns, and the interpreter runs the file natively. What the kernel keeps of an exec
// stays as it was: /proc/self/environ has what made the interpreter find the hook and lacks Run.Env, and /proc/self/cmdline lacks Run.Args.
// Variables that the interpreter reads when it starts (PYTHON…, NODE_…) work in Boot.Env and come too late in Run.Env.
const (
	hookMark = 'R'
	hookFail = 'F'
)

// runner is how the interpreter of a language is started so that it finds its hook and waits.
type runner struct {
	name string   // of the executable, looked up in PATH
	args []string // of it, the program last
	// cpython understands changes of the environment without a name.
	cpython bool
	many    bool // it has threads of its own
	// variable makes the interpreter find the hook: it is set to value, before what the job's environment has in it, joined by sep.
	variable, value, sep string
}

// runnerOf is the runner of a language that waits.
func runnerOf(l frames.Language) runner {
	if l == frames.Node {
		return runner{name: "node", args: []string{codeDir + "/main.js"}, many: true, variable: "NODE_OPTIONS", value: "--require=/.tsubo/node/wait.js", sep: " "}
	}
	// An empty PYTHONPATH is none for the interpreter, and an empty entry in one is the working directory.
	return runner{name: "python3", args: []string{"-u", codeDir + "/main.py"}, cpython: true, variable: "PYTHONPATH", value: "/.tsubo/python", sep: ":"}
}

// environment is env with what makes the interpreter find the hook.
func (r runner) environment(env []string) []string {
	value := r.value
	if old, _ := getenv(env, r.variable); old != "" {
		value += r.sep + old
	}
	return setenv(env, r.variable, value)
}

// undo is the change of the environment that takes this away.
func (r runner) undo(env []string) string {
	if old, ok := getenv(env, r.variable); ok {
		return r.variable + "=" + old
	}
	return r.variable
}

// park starts the interpreter and waits until the hook has it.
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
			// What comes early waits in the buffer; only the end of the socket matters now.
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

// checkPreload makes sure that nothing but the waiting interpreter is left of the modules that it has imported: what they have written would be
// the job's output, and what still runs would run into the job.
func (g *guest) checkPreload() *failure {
	for _, fd := range []int{g.job.stdout, g.job.stderr} {
		if n, err := readable(fd); err != nil {
			return fail(frames.StageSetup, "look at a pipe", err)
		} else if n > 0 {
			return fail(frames.StageExec, "a preloaded module writes output when it is imported: it cannot be preloaded", nil)
		}
	}
	pid := strconv.Itoa(g.job.pid)
	if n, err := numbers("/proc/" + pid + "/task"); err != nil {
		return fail(frames.StageSetup, "count threads", err)
	} else if n > 1 && !runnerOf(g.boot.Language).many {
		return fail(frames.StageExec, "a preloaded module starts threads when it is imported ("+strconv.Itoa(n-1)+
			"): it cannot be preloaded, unless a variable of its own in environment stops it", nil)
	}
	// init and the interpreter.
	if n, err := numbers("/proc"); err != nil {
		return fail(frames.StageSetup, "count processes", err)
	} else if n > 2 {
		return fail(frames.StageExec, "a preloaded module leaves processes when it is imported ("+strconv.Itoa(n-2)+"): it cannot be preloaded", nil)
	}
	return nil
}

// numbers counts the entries of a directory of /proc that are numbers.
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

// diedEarly says how the interpreter ended instead of waiting, with the last line that it wrote.
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

// jobMessage is what the waiting hook is told.
func (g *guest) jobMessage() []byte {
	r := runnerOf(g.boot.Language)
	fields := make([]string, 0, 4+len(g.spec.Args)+len(g.spec.Env))
	fields = append(append(fields, strconv.Itoa(len(g.spec.Args))), g.spec.Args...)
	if g.spec.Program == "" {
		fields = append(fields, "")
	} else {
		fields = append(fields, codeDir+"/"+g.spec.Program)
		if r.cpython {
			path, _ := lookPath(r.name, g.boot.Env) // park has found it
			return hookMessage(append(append(fields, path), overlay(g.boot.Env, g.spec.Env)...))
		}
	}
	fields = append(append(fields, r.undo(g.boot.Env)), g.spec.Env...)
	if r.cpython && !g.archive {
		fields = append(fields, "="+r.args[len(r.args)-1])
	}
	return hookMessage(fields)
}

// hookMessage is one message to the hook.
func hookMessage(fields []string) []byte {
	b := []byte("00000000")
	for _, s := range fields {
		b = append(append(b, s...), 0)
	}
	n := strconv.Itoa(len(b) - 8)
	copy(b[8-len(n):8], n)
	return b
}
