package sandbox

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// controlPair is the control socket of one sandbox: ours, non-blocking so that deadlines work and read with read(2) alone, and the one
// that becomes fd 0 of tsubo-init, which the caller closes once the sandbox has it.
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

// breakOff lets reads and writes on the control socket fail once ctx ends, until the function that it returns is called; afterwards the
// socket has no deadline, however close the two came.
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
