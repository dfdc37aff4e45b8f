package netns

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by a closed NS or Stock.
var ErrClosed = errors.New("network namespace is closed")

var errEnded = errors.New("the function ended its goroutine")

// NS is an empty network namespace. It is safe for concurrent use.
type NS struct {
	mu sync.RWMutex // held for reading while the file is in use
	f  *os.File     // nil once closed
}

// New creates a namespace and verifies that it is new and empty. The caller closes the NS.
func New() (*NS, error) {
	var f *os.File
	err := onOwnThread(func() (err error) {
		before, err := openCurrent()
		if err != nil {
			return err
		}
		defer before.Close()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		after, err := openCurrent()
		if err != nil {
			return err
		}
		if err := errors.Join(checkNew(before, after), checkEmpty()); err != nil {
			return errors.Join(err, after.Close())
		}
		f = after
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return &NS{f: f}, nil
}

// openCurrent opens the network namespace of the calling thread.
func openCurrent() (*os.File, error) {
	f, err := os.OpenFile("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := checkType(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkType returns an error unless f is a network namespace.
func checkType(f *os.File) error {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil {
		return fmt.Errorf("get the type of namespace %s: %w", f.Name(), err)
	}
	if kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is a namespace of type %#x, not a network", f.Name(), kind)
	}
	return nil
}

func checkNew(before, after *os.File) error {
	x, errX := before.Stat()
	y, errY := after.Stat()
	if err := errors.Join(errX, errY); err != nil {
		return err
	}
	if os.SameFile(x, y) {
		return errors.New("the thread is still in its old namespace")
	}
	return nil
}

// Do runs fn inside the namespace, on its own thread, and returns fn's error. Processes that fn
// starts are in the namespace; goroutines that fn starts are not. The thread exits with fn, so the
// kernel would kill a process with Pdeathsig at that moment. fn must not call
// runtime.UnlockOSThread.
func (n *NS) Do(fn func() error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.f == nil {
		return ErrClosed
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		current, err := openCurrent()
		if err != nil {
			return err
		}
		x, errX := current.Stat()
		y, errY := n.f.Stat()
		if err := errors.Join(errX, errY, current.Close()); err != nil {
			return err
		}
		if !os.SameFile(x, y) {
			return errors.New("enter network namespace: the thread is in another namespace")
		}
		return fn()
	})
}

// Check verifies again that the namespace is empty.
func (n *NS) Check() error { return n.Do(checkEmpty) }

// File returns the open namespace, for Setns or as a path (/proc/self/fd/N). The NS owns the file.
// File returns nil after Close.
func (n *NS) File() *os.File {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.f
}

// Close releases the namespace, which exists until its last process exits. Close waits for a
// running Do. It is idempotent.
func (n *NS) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.f == nil {
		return nil
	}
	f := n.f
	n.f = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}
