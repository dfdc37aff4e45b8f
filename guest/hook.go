package guest

import (
	"strconv"

	"github.com/tsubo-run/tsubo/frames"
)

// The waiting interpreter. It is started as `python3 -u /code/main.py` before that file exists; the hook (guest/hook/sitecustomize.py),
// found through PYTHONPATH, is imported by the interpreter's own start-up just before it opens the file, says one byte on
// descriptor 3 and waits there for one message:
//
//	8 digits   the length of what follows, in bytes
//	then       fields that each end in NUL: the number of arguments, the arguments, and changes of the environment ("K=V" sets, "K" removes)
//
// Then it takes away every trace of itself and returns, and the interpreter runs the file natively. What the kernel keeps of an exec stays as
// it was: /proc/self/environ has the hook's PYTHONPATH and lacks Run.Env, and /proc/self/cmdline lacks Run.Args. Variables that the interpreter
// reads when it starts (PYTHON…) work in Boot.Env and come too late in Run.Env.
const (
	hookDir  = "/.tsubo/python"
	program  = codeDir + "/main.py"
	hookMark = 'R'
)

// park starts the interpreter and waits until the hook has it.
func (g *guest) park() *failure {
	const name = "python3"
	path, ok := lookPath(name, g.boot.Env)
	if !ok {
		return fail(frames.StageExec, name+" not found in PATH", nil)
	}
	// An empty PYTHONPATH is none for the interpreter, and an empty entry in one is the working directory.
	value := hookDir
	if old, _ := getenv(g.boot.Env, "PYTHONPATH"); old != "" {
		value += ":" + old
	}
	if f := g.start(path, []string{name, "-u", program}, setenv(g.boot.Env, "PYTHONPATH", value), true); f != nil {
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
		var b [1]byte
		n, err := readFD(g.job.hook, b[:])
		switch {
		case err != nil || n == 0:
			return g.diedEarly()
		case b[0] != hookMark:
			return fail(frames.StageExec, notWaiting, nil)
		}
		return nil
	}
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

// hookMessage is what the hook waits for.
func (g *guest) hookMessage() []byte {
	b := []byte("00000000")
	field := func(s string) { b = append(append(b, s...), 0) }
	field(strconv.Itoa(len(g.spec.Args)))
	for _, a := range g.spec.Args {
		field(a)
	}
	if old, ok := getenv(g.boot.Env, "PYTHONPATH"); ok {
		field("PYTHONPATH=" + old)
	} else {
		field("PYTHONPATH")
	}
	for _, kv := range g.spec.Env {
		field(kv)
	}
	n := strconv.Itoa(len(b) - 8)
	copy(b[8-len(n):8], n)
	return b
}
