package guest

import (
	"errors"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

const (
	// killMS bounds how long init kills and reaps what the job left, by the monotonic clock. SIGKILL ends a process only once its system call
	// is over, and a few calls of the sandbox's kernel look at no signal for many seconds.
	killMS = 3000
	// drainReads bounds how much output is taken while a process survives SIGKILL: more than two pipes of the largest size hold.
	drainReads = 64
)

// reap collects every child that has ended, orphans included, and reports whether any child is left.
func (g *guest) reap() (left bool) {
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG|wAll, nil)
		switch {
		case again(err):
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		case pid == g.job.pid && !g.job.ended && (st.Exited() || st.Signaled()): // a tracee of init's may be reported as stopped
			g.job.ended, g.job.status = true, st
		}
	}
}

// awaitEnd waits for the end of the job's process and reports whether it came in time.
func (g *guest) awaitEnd(ms int64) bool {
	for begun := monotonicMS(); !g.job.ended && monotonicMS()-begun <= ms; g.reap() {
		if poll([]pollFD{{fd: int32(g.job.pidfd), events: pollIn}}, 100) != nil {
			return false
		}
	}
	return g.job.ended
}

// killAll kills and reaps until init is alone, and reports whether processes of the job survive after killMS. No child at all means alone:
// whatever lives in the sandbox descends from init, and an orphan becomes its child before its parent can be reaped. A child in any other state,
// a stopped one included, is no end.
func (g *guest) killAll() (survivors bool, f *failure) {
	if !g.reap() {
		return false, nil
	}
	for begun := monotonicMS(); ; {
		if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fail(frames.StageReap, "kill", err)
		}
		// Each death ends this early: the signal comes to the one thread that there is.
		if err := poll(nil, 1); err != nil {
			return false, fail(frames.StageReap, "poll", err)
		}
		if !g.reap() {
			return false, nil
		}
		if monotonicMS()-begun > killMS {
			return true, nil
		}
	}
}

// end kills what the job left, takes the last output and reports how the job ended. If processes survive, /output must not be read, since they
// may still change it: end sends Exit with Survivors, Done without artifacts, and waits for the daemon to kill the sandbox.
func (g *guest) end() *failure {
	survivors, f := g.killAll()
	if f != nil {
		return f
	}
	closeFD(&g.job.pidfd)
	closeFD(&g.job.stdin)
	closeFD(&g.job.hook)
	g.stdin = nil
	if g.job.pid != 0 {
		if f := g.drain(survivors); f != nil {
			return f
		}
	}
	x := frames.Exit{Signal: uint8(syscall.SIGKILL)} // stopped before it was started, or it survives its SIGKILL
	if g.job.ended {
		if g.job.status.Signaled() {
			x.Signal = uint8(g.job.status.Signal())
		} else {
			x = frames.Exit{Code: uint8(g.job.status.ExitStatus())}
		}
	}
	x.Survivors = survivors
	if g.out.Queue(x) != nil {
		return closed
	}
	if !survivors {
		return nil
	}
	if g.out.Send(g.done()) != nil {
		return closed
	}
	return g.awaitClose()
}
