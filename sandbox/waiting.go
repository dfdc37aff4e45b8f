package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// Waiting returns nil if the sandbox still waits for its job unharmed, or why it must be destroyed.
// It does not block. A waiting sandbox sends nothing, so any pending byte and EOF on its control
// socket are reasons.
func (s *Sandbox) Waiting() error {
	switch {
	case s.used:
		return errors.New("the sandbox has been used")
	case s.control == nil:
		return errors.New("the sandbox is destroyed")
	case s.reader.Pending() > 0:
		return errors.New("the sandbox sent data before its job came")
	}
	conn, err := s.control.SyscallConn()
	if err != nil {
		return fmt.Errorf("check the control socket: %w", err)
	}
	fds := []unix.PollFd{{Events: unix.POLLIN | unix.POLLRDHUP}}
	var pollErr error
	err = conn.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		for { // a signal can interrupt even a poll without a timeout
			if _, pollErr = unix.Poll(fds, 0); !errors.Is(pollErr, unix.EINTR) {
				break
			}
		}
	})
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("check the control socket: %w", err)
	}
	switch events := fds[0].Revents; {
	case events&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR|unix.POLLNVAL) != 0:
		return errors.New("the sandbox ended")
	case events != 0:
		return errors.New("the sandbox sent data before its job came")
	}
	return nil
}

// idleFootprint replaces the unknown value on a host without leaves. A leaf with an idle Python
// took 33 to 45 MB.
const idleFootprint = 45 * job.MiB

// Footprint returns the memory of the waiting sandbox's leaf in bytes, read once after the boot.
func (s *Sandbox) Footprint() int64 { return s.footprint }

func (s *Sandbox) measure() (err error) {
	s.footprint = idleFootprint
	if s.leaf != nil {
		s.footprint, err = s.leaf.Memory()
	}
	return err
}
