package guest

import (
	"errors"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

// killMS bounds how long init tries to kill what the job left. The daemon's own patience is shorter: it kills the whole leaf.
const killMS = 5000

// restNice is the niceness, of all, with which an interpreter stops itself where it would call _exit(0) (hook/sitecustomize.py): what the kernel
// of the sandbox does at the end of a process takes longer than many a job, and whoever waits for the answer need not wait for it. It is killed
// once the answer is out. Code that does the same has ended with status 0, as if it had called _exit(0).
const restNice = 13

// rests reports whether the job's process, which has been stopped by a signal, rests.
func (g *guest) rests(sig syscall.Signal) bool {
	if sig != syscall.SIGSTOP {
		return false
	}
	nice, err := niceness(g.job.pid)
	return err == nil && nice == restNice
}

// alone reports whether nobody but the job's own process is left, so that nothing happens while it rests.
func (g *guest) alone() bool {
	n, err := numbers("/proc")
	return err == nil && n == 2
}

// reap collects every child that has ended, orphans included, and reports whether any child is left.
func (g *guest) reap() (left bool) {
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG|syscall.WUNTRACED|wAll, nil)
		switch {
		case again(err):
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		case pid == g.job.pid && !g.job.ended && (st.Exited() || st.Signaled()):
			g.job.ended, g.job.status = true, st
		case pid == g.job.pid && !g.job.ended && st.Stopped() && g.rests(st.StopSignal()):
			g.job.ended, g.job.rests = true, true
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

// end kills and reaps until init is alone, or has nobody but a process that rests, takes the last output and reports how the job ended. No child
// at all means alone: whatever lives in the sandbox descends from init, and an orphan becomes its child before its parent can be reaped.
func (g *guest) end() *failure {
	for ms := 0; g.reap() && (!g.job.rests || ms > 0 || !g.alone()); ms++ {
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
