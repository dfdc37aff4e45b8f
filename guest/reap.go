package guest

import (
	"errors"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

const (
	// killMS limits how long init kills and reaps the job's processes, by the monotonic clock.
	// SIGKILL ends a process only after its system call, and a few calls of the sandbox's kernel
	// ignore signals for many seconds.
	killMS = 3000
	// drainReads limits how much output is read while a process survives SIGKILL. It exceeds the
	// content of two pipes of the largest size.
	drainReads = 64
)

// reap reaps every child that has exited, orphans included, and reports whether any child is left.
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
		case pid == g.job.pid && !g.job.ended && (st.Exited() || st.Signaled()):
			// A stop may be reported, too, if init is the tracer.
			g.job.ended, g.job.status = true, st
		}
	}
}

// awaitEnd waits for the job's process to exit and reports whether it did in time.
func (g *guest) awaitEnd(ms int64) bool {
	for begun := monotonicMS(); !g.job.ended && monotonicMS()-begun <= ms; g.reap() {
		if poll([]pollFD{{fd: int32(g.job.pidfd), events: pollIn}}, 100) != nil {
			return false
		}
	}
	return g.job.ended
}

// killAll kills and reaps until init is alone, and reports whether processes survive after killMS.
// Init is alone if it has no child: every process of the sandbox descends from init, and an orphan
// becomes init's child before its parent can be reaped. A child in any other state, even stopped,
// is not dead.
func (g *guest) killAll() (survivors bool, f *failure) {
	if !g.reap() {
		return false, nil
	}
	for begun := monotonicMS(); ; {
		if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fail(frames.StageReap, "kill", err)
		}
		// Each exit ends the poll early, because SIGCHLD goes to the only thread.
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

// end kills the job's processes, forwards the last output and reports the job's exit. If processes
// survive, /output must not be read, because they may still change it. Then end sends Exit with
// Survivors and Done without artifacts, and waits for the daemon to kill the sandbox.
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
	x := frames.Exit{Signal: uint8(syscall.SIGKILL)} // stopped before its start, or surviving SIGKILL
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
