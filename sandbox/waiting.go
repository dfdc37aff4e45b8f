package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// Waiting tells whether the sandbox still waits for its job, unharmed: nil, or why it must be destroyed. It does not block. A sandbox that
// waits has nothing to say, so anything to read on its control socket, its end included, is a reason.
func (s *Sandbox) Waiting() error {
	switch {
	case s.used:
		return errors.New("the sandbox has had its job")
	case s.control == nil:
		return errors.New("the sandbox is destroyed")
	case s.reader.Pending() > 0:
		return errors.New("the sandbox spoke before its job came")
	}
	conn, err := s.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the control socket: %w", err)
	}
	fds := []unix.PollFd{{Events: unix.POLLIN | unix.POLLRDHUP}}
	var pollErr error
	err = conn.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		for { // a signal can interrupt it all the same
			if _, pollErr = unix.Poll(fds, 0); !errors.Is(pollErr, unix.EINTR) {
				break
			}
		}
	})
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("look at the control socket: %w", err)
	}
	switch events := fds[0].Revents; {
	case events&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR|unix.POLLNVAL) != 0:
		return errors.New("the sandbox ended")
	case events != 0:
		return errors.New("the sandbox spoke before its job came")
	}
	return nil
}

// idleFootprint stands for what cannot be read on a host without leaves: a leaf with an idle Python was 33 to 45 MB.
const idleFootprint = 45 * job.MiB

// Footprint is what the sandbox takes of the host's memory while it waits, in bytes: its leaf's, read once after the boot.
func (s *Sandbox) Footprint() int64 { return s.footprint }

func (s *Sandbox) measure() (err error) {
	s.footprint = idleFootprint
	if s.leaf != nil {
		s.footprint, err = s.leaf.Memory()
	}
	return err
}
