package sandbox

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// controlPair returns both ends of a sandbox's control socket. ours is non-blocking, so that
// deadlines work. theirs becomes fd 0 of tsubo-init. The caller closes theirs once the sandbox has
// a copy.
func controlPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the control socket: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, nil, fmt.Errorf("make the control socket non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control-guest"), nil
}

// breakOff makes reads and writes on the control socket fail once ctx ends. restore ends that and
// removes the deadline, even if ctx ends at the same moment.
func (s *Sandbox) breakOff(ctx context.Context) (restore func()) {
	broke := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(broke)
		_ = s.control.SetDeadline(time.Unix(1, 0)) // fails only on a closed socket
	})
	return func() {
		if !stop() {
			<-broke
		}
		_ = s.control.SetDeadline(time.Time{})
	}
}
