package guest

import (
	"errors"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

// killMS bounds how long init tries to kill what the job left. The daemon's own patience is shorter: it kills the whole leaf.
const killMS = 5000

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
		case pid == g.job.pid && !g.job.ended && (st.Exited() || st.Signaled()):
			g.job.ended, g.job.status = true, st
		}
	}
}

// awaitEnd waits for the end of the job's process and reports whether it came in time.
func (g *guest) awaitEnd(ms int) bool {
	for ; !g.job.ended && ms >= 0; ms -= 100 {
		if poll([]pollFD{{fd: int32(g.job.pidfd), events: pollIn}}, 100) != nil {
			return false
		}
		g.reap()
	}
	return g.job.ended
}

// end kills and reaps until init is alone, takes the last output and reports how the job ended. No child at all means alone: whatever
// lives in the sandbox descends from init, and an orphan becomes its child before its parent can be reaped.
func (g *guest) end() *failure {
	for ms := 0; g.reap(); ms++ {
		if ms > killMS {
			return fail(frames.StageReap, "processes survive SIGKILL", nil)
		}
		if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fail(frames.StageReap, "kill", err)
		}
		// Each death ends this early: the signal comes to the one thread that there is.
		if err := poll(nil, 1); err != nil {
			return fail(frames.StageReap, "poll", err)
		}
	}
	closeFD(&g.job.pidfd)
	closeFD(&g.job.stdin)
	closeFD(&g.job.hook)
	g.stdin = nil
	if g.job.pid != 0 {
		if f := g.drain(); f != nil {
			return f
		}
	}
	x := frames.Exit{Signal: uint8(syscall.SIGKILL)} // stopped before it was started
	if g.job.ended {
		if g.job.status.Signaled() {
			x.Signal = uint8(g.job.status.Signal())
		} else {
			x = frames.Exit{Code: uint8(g.job.status.ExitStatus())}
		}
	}
	if g.out.Queue(x) != nil {
		return closed
	}
	return nil
}
