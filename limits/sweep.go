package limits

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// killWait limits the wait for killed processes when the caller's context has no deadline.
// cgroup.kill takes 0.2 s under emulation; a process in uninterruptible sleep takes as long as its
// device.
const killWait = 20 * time.Second

// kill kills every process in d and below it. A removed cgroup is no error.
func kill(d *dir) error {
	if err := d.write("cgroup.kill", "1"); err != nil && !gone(err) {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return nil
}

// removeChild kills everything in parent/name, waits for the processes to exit, and removes the
// cgroup with all its descendants. It is idempotent, tries every step, and joins the errors. It
// succeeds if the cgroup is gone.
func removeChild(ctx context.Context, parent *dir, name string) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, killWait)
		defer cancel()
	}
	d, err := parent.sub(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.close()
	errKill := kill(d)
	errWait := waitEmpty(ctx, d)
	err = removeTree(parent, name)
	if err == nil {
		return nil
	}
	return errors.Join(errKill, errWait, err)
}

// removeTree removes parent/name and its descendants, leaves first.
func removeTree(parent *dir, name string) error {
	if parent.rmdir(name) == nil {
		return nil
	}
	d, err := parent.sub(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.close()
	names, err := d.children()
	errs := []error{err}
	for _, n := range names {
		errs = append(errs, removeTree(d, n))
	}
	return errors.Join(append(errs, parent.rmdir(name))...)
}

// markXattr marks the daemon/ and jobs/ cgroups that tsubo made, so that a subtree named by mistake
// is never swept.
const markXattr = "trusted.tsubo"

func mark(d *dir) error {
	if err := unix.Fsetxattr(int(d.f.Fd()), markXattr, []byte("1"), 0); err != nil {
		return fmt.Errorf("mark %s: %w", d.path, err)
	}
	return nil
}

func marked(d *dir) bool {
	return xattrIsOne(d, markXattr)
}

func xattrIsOne(d *dir, name string) bool {
	b := make([]byte, 8)
	n, err := unix.Fgetxattr(int(d.f.Fd()), name, b)
	return err == nil && string(b[:n]) == "1"
}
