package limits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// waitEmpty returns once no process is left in d or below it, or with ctx's cause. It sleeps until
// the kernel announces a change of cgroup.events. The file is registered with the runtime's poller
// (kernfs raises EPOLLERR|EPOLLPRI), so a wait needs neither a thread nor one of a user's few
// inotify instances.
func waitEmpty(ctx context.Context, d *dir) error {
	f, err := d.open("cgroup.events", unix.O_RDONLY|unix.O_NONBLOCK)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("poll %s: %w", f.Name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("poll %s: %w", f.Name(), err)
	}
	var readErr error
	err = conn.Read(func(fd uintptr) bool {
		var populated bool
		populated, readErr = readPopulated(int(fd), f.Name())
		return readErr != nil || !populated
	})
	switch {
	case readErr != nil:
		return readErr
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("wait for %s to be empty: %w", d.path, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("poll %s: %w", f.Name(), err)
	}
	return nil
}

func readPopulated(fd int, path string) (bool, error) {
	b := make([]byte, 256)
	n, err := unix.Pread(fd, b, 0)
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "read", Path: path, Err: err}
	}
	if n == 0 {
		return false, &os.PathError{Op: "read", Path: path, Err: io.ErrUnexpectedEOF}
	}
	v, err := parseKeyed(path, string(b[:n]), "populated")
	if err != nil {
		return false, err
	}
	return v[0] != 0, nil
}
