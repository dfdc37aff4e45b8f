package guest

import (
	"errors"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

const (
	pipeSize = 64 << 10
	// After a small read, init pauses for lingerMS while the job goes on writing into its pipe. A
	// program that prints line by line then costs a few hundred frames a second, not a frame per
	// line, and its first line is not delayed.
	smallRead = 4 << 10
	lingerMS  = 2
	// reapMS is how often orphans are reaped without a SIGCHLD.
	reapMS = 200
)

// pump forwards the two output streams.
type pump struct {
	buf      []byte
	out, err stream
}

// stream is the state of an output stream.
type stream struct {
	left  int64 // bytes still to forward; later bytes are read and counted
	total int64
	tail  []byte // the last frames.MaxTail bytes that were not forwarded, perhaps with some earlier ones
}

// keepTail records the last bytes that are not forwarded.
func (s *stream) keepTail(b []byte) {
	if s.tail = append(s.tail, b[max(0, len(b)-frames.MaxTail):]...); len(s.tail) > 4*frames.MaxTail {
		s.tail = append(s.tail[:0], s.tail[len(s.tail)-frames.MaxTail:]...)
	}
}

// carry forwards output and feeds stdin until the job's own process exits, Stop arrives or the
// daemon is gone. A stream over its cap never blocks the job.
func (g *guest) carry() *failure {
	g.beginPump()
	fds := make([]pollFD, 5)
	linger := false
	for {
		fds[0] = pollFD{fd: int32(g.job.pidfd), events: pollIn}
		fds[1] = pollFD{fd: control, events: pollIn}
		fds[2] = pollFD{fd: int32(g.job.stdin), events: pollOut}
		fds[3] = pollFD{fd: int32(g.job.stdout), events: pollIn}
		fds[4] = pollFD{fd: int32(g.job.stderr), events: pollIn}
		ms := reapMS
		if linger {
			fds[3].fd, fds[4].fd, ms = -1, -1, lingerMS
		}
		if g.job.stdin >= 0 {
			if f := g.feed(); f != nil {
				return f
			}
			fds[2].fd = int32(g.job.stdin)
		}
		g.reap()
		if g.job.ended {
			return nil
		}
		if err := poll(fds, ms); err != nil {
			return fail(frames.StageSetup, "poll", err)
		}
		linger = false
		if fds[1].revents != 0 {
			if f := g.heard(); f != nil {
				return f
			}
			if g.stopped {
				return nil
			}
		}
		if fds[3].revents != 0 || fds[4].revents != 0 {
			n := g.forward(&g.job.stdout, &g.pump.out, fds[3].revents) + g.forward(&g.job.stderr, &g.pump.err,
				fds[4].revents)
			linger = n < smallRead
			if g.out.Flush() != nil {
				return closed
			}
		}
	}
}

func (g *guest) beginPump() {
	g.pump = pump{buf: make([]byte, pipeSize), out: stream{left: g.spec.Caps.Stdout + frames.OutputSlack},
		err: stream{left: g.spec.Caps.Stderr + frames.OutputSlack}}
}

// forward does a single read and queues the result. It closes the descriptor at EOF. It returns how
// many bytes were read.
func (g *guest) forward(fd *int, s *stream, revents int16) int {
	if *fd < 0 || revents == 0 {
		return 0
	}
	n, err := readFD(*fd, g.pump.buf)
	if n == 0 && !errors.Is(err, syscall.EAGAIN) {
		closeFD(fd)
	}
	s.total += int64(n)
	keep := min(int64(n), s.left)
	s.left -= keep
	if dropped := g.pump.buf[keep:n]; len(dropped) > 0 && s == &g.pump.err {
		s.keepTail(dropped)
	}
	if keep > 0 {
		var m frames.Message = frames.Stdout(g.pump.buf[:keep])
		if s == &g.pump.err {
			m = frames.Stderr(g.pump.buf[:keep])
		}
		_ = g.out.Queue(m) // the writer keeps an error, and Flush returns it
	}
	return n
}

// feed writes as much stdin as the pipe accepts. A job that closes its stdin is no error.
func (g *guest) feed() *failure {
	for len(g.stdin) > 0 {
		n, err := syscall.Write(g.job.stdin, g.stdin)
		if again(err) {
			continue
		}
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil {
			break // EPIPE: the job has closed it
		}
		g.stdin = g.stdin[n:]
	}
	g.stdin = nil
	closeFD(&g.job.stdin)
	return nil
}

// drain forwards the rest of the pipes. It runs after every process is dead, so nothing can be
// added. If there are survivors, drain does at most drainReads reads. It does not wait for EOF,
// because a descriptor that was sent into a socket and lost there may keep a dead pipe open.
func (g *guest) drain(survivors bool) *failure {
	if g.pump.buf == nil {
		g.beginPump()
	}
	for _, s := range []struct {
		fd *int
		s  *stream
	}{{&g.job.stdout, &g.pump.out}, {&g.job.stderr, &g.pump.err}} {
		for n := 0; *s.fd >= 0 && (!survivors || n < drainReads) && g.forward(s.fd, s.s, pollIn) > 0; n++ {
		}
		closeFD(s.fd)
	}
	if g.out.Flush() != nil {
		return closed
	}
	return nil
}
