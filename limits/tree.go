package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// InStage2 reports whether [Entered.Exec] executed this process and [Open] has not been called yet.
// Only Open proves it.
func InStage2() bool { return os.Getenv(enteredEnv) != "" }

// opened is set once this process is in stage 2. Enter checks it.
var opened atomic.Bool

// Tree is the daemon's subtree as stage 2 sees it. It is safe for concurrent use.
type Tree struct {
	Subtree string // path in the host's hierarchy, for messages

	lock *os.File // held for the life of the process
	root *dir
	jobs *dir

	mu   sync.Mutex
	live map[string]bool // leaves that this process made and has not removed
}

// Open is stage 2: it takes over the lock and verifies the view that [Enter] prepared. After any
// error the process should exit. Open removes its variable from the environment and makes the lock
// close on exec again, so that no child inherits it.
func Open() (*Tree, error) {
	value := os.Getenv(enteredEnv)
	if err := os.Unsetenv(enteredEnv); err != nil {
		return nil, err
	}
	t, err := open(value)
	if err != nil {
		return nil, fmt.Errorf("open the cgroup subtree: %w", err)
	}
	opened.Store(true)
	return t, nil
}

func open(value string) (_ *Tree, err error) {
	number, subtree, ok := strings.Cut(value, ":")
	fd, errFD := strconv.Atoi(number)
	if !ok || errFD != nil || fd < 3 {
		return nil, errors.New("this process did not enter one")
	}
	t := &Tree{Subtree: subtree, lock: os.NewFile(uintptr(fd), "cgroup lock"), live: make(map[string]bool)}
	if t.lock == nil {
		return nil, errors.New("the lock is no open file")
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				err = errors.Join(err, f())
			}
		}
	}()
	undo = append(undo, t.lock.Close)
	if err := errors.Join(setCloexec(t.lock, true), checkMagic(t.lock)); err != nil {
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil { // no change when held, as it is
		return nil, fmt.Errorf("lock the subtree: %w", err)
	}
	if t.root, err = openMount(mountpoint); err != nil {
		return nil, err
	}
	undo = append(undo, t.root.close)
	if err := checkView(t.root, t.lock); err != nil {
		return nil, err
	}
	if t.jobs, err = t.root.sub(jobsDir); err != nil {
		return nil, err
	}
	undo = append(undo, t.jobs.close)
	if err := errors.Join(checkHandedDown(t.root), checkHandedDown(t.jobs)); err != nil {
		return nil, err
	}
	return t, nil
}

// checkView checks that root is the locked subtree and that this process is in its daemon/ cgroup.
// It also checks that this mount namespace shows no cgroup above or beside the subtree.
func checkView(root *dir, lock *os.File) error {
	own, err := ownCgroup()
	if err != nil {
		return err
	}
	if own != "/"+daemonDir {
		return fmt.Errorf("the process is in cgroup %q of its namespace, not in /%s", own, daemonDir)
	}
	procs, err := root.open("cgroup.procs", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer procs.Close()
	if same, err := sameFile(procs, lock); err != nil || !same {
		return errors.Join(fmt.Errorf("%s is not the subtree that was locked", root.path), err)
	}
	if _, err := root.read("cgroup.type"); err != nil {
		return fmt.Errorf("%s is the root of the hierarchy: %w", root.path, err)
	}
	if pids, err := root.procs(); err != nil || len(pids) > 0 {
		return errors.Join(fmt.Errorf("%d processes in the root of the subtree", len(pids)), err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return fmt.Errorf("read the mount table: %w", err)
	}
	if len(mounts) != 1 || mounts[0].Mountpoint != mountpoint || mounts[0].Root != "/" || mounts[0].FSType != "cgroup2" {
		return fmt.Errorf("%d cgroup mounts in view; want only the subtree's own on %s", len(mounts), mountpoint)
	}
	return nil
}

// List returns the names of the existing leaves.
func (t *Tree) List() ([]string, error) {
	names, err := t.jobs.children()
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Sweep kills and removes every leaf without a Leaf in this process and returns the number removed.
// It tries all leaves and joins the errors.
func (t *Tree) Sweep(ctx context.Context) (int, error) {
	names, err := t.List()
	errs := []error{err}
	n := 0
	for _, name := range names {
		t.mu.Lock()
		live := t.live[name]
		t.mu.Unlock()
		if live {
			continue
		}
		if err := removeChild(ctx, t.jobs, name); err != nil {
			errs = append(errs, fmt.Errorf("sweep leaf %s: %w", name, err))
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}

// Close releases the lock and the descriptors. It removes nothing.
func (t *Tree) Close() error {
	return errors.Join(t.jobs.close(), t.root.close(), t.lock.Close())
}
