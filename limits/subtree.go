package limits

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// FindSubtree returns this daemon's cgroup subtree as a path in the hierarchy, such as "/tsubo". If
// the service manager delegated the process's cgroup (systemd sets an xattr for Delegate=), that
// cgroup is the subtree. Otherwise it is parent (cgroup_parent of the configuration), or
// [DefaultParent] if parent is empty. FindSubtree writes nothing; the subtree need not exist yet.
func FindSubtree(parent string) (string, error) {
	mount, err := findMount()
	if err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	root, err := openMount(mount)
	if err != nil {
		return "", err
	}
	defer root.close()
	subtree, _, err := findSubtree(root, parent)
	return subtree, err
}

func findSubtree(root *dir, parent string) (subtree string, delegated bool, err error) {
	own, err := ownCgroup()
	if err != nil {
		return "", false, err
	}
	if own != "/" {
		d, err := root.walk(own)
		if err != nil {
			return "", false, fmt.Errorf("open the daemon's own cgroup: %w", err)
		}
		defer d.close()
		if xattrIsOne(d, "trusted.delegate") || xattrIsOne(d, "user.delegate") {
			return own, true, nil
		}
	}
	if parent == "" {
		parent = DefaultParent
	}
	return parent, false, checkParent(parent)
}

// checkParent accepts only a clean absolute path below the root.
func checkParent(parent string) error {
	if !path.IsAbs(parent) || path.Clean(parent) != parent || parent == "/" || strings.ContainsAny(parent, "\x00\n") {
		return fmt.Errorf("cgroup_parent %q: must be an absolute path in the cgroup hierarchy such as %q, and not its root",
			parent, DefaultParent)
	}
	return nil
}

// ownCgroup returns the path of this process in the cgroup2 hierarchy, as seen from its cgroup
// namespace.
func ownCgroup() (string, error) {
	paths, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("read the daemon's own cgroup: %w", err)
	}
	own, ok := paths[""]
	if !ok || !path.IsAbs(own) {
		return "", errors.New("the daemon is in no cgroup v2")
	}
	if path.Clean(own) != own || strings.HasPrefix(own, "/..") || strings.HasSuffix(own, " (deleted)") {
		return "", fmt.Errorf("the daemon's own cgroup %q is outside its view of the hierarchy", own)
	}
	return own, nil
}

// BusyError reports that another daemon holds the subtree.
type BusyError struct{ Subtree string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("cgroup subtree %s is in use by another tsubod: stop it, or give this one a cgroup_parent of its own", e.Subtree)
}

// ForeignError reports that tsubo did not make everything in the subtree. Nothing in it was
// touched.
type ForeignError struct{ Subtree, Why string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("cgroup subtree %s is not tsubo's alone: %s; set cgroup_parent to a cgroup that only tsubo uses", e.Subtree, e.Why)
}

// lock takes the subtree's lock, which lives as long as the returned file is open in any process.
// The lock is on cgroup.procs, not on the directory: the descriptor of a regular file gives no way
// up to the host's hierarchy.
func lock(d *dir, subtree string) (*os.File, error) {
	f, err := d.open("cgroup.procs", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = &BusyError{Subtree: subtree}
		} else {
			err = fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkOurs refuses a subtree with foreign users: other processes in it, or populated children that
// tsubo did not make and mark. If tsubo did not make the subtree and it was not delegated, every
// unmarked child is refused but the delegated .control and an empty daemon or jobs. Sweeping
// another child, or disabling its controllers, would hit other people's processes.
func checkOurs(d *dir, subtree string, inside bool) error {
	pids, err := d.procs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if !inside || pid != os.Getpid() {
			return &ForeignError{subtree, fmt.Sprintf("process %d is in it", pid)}
		}
	}
	names, err := d.children()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkChild(d, subtree, name, inside); err != nil {
			return err
		}
	}
	return nil
}

func checkChild(d *dir, subtree, name string, inside bool) error {
	c, err := d.sub(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	if marked(c) {
		return nil
	}
	if inside && name == ".control" { // where systemd runs ExecStartPost and the like of a delegated unit
		return nil
	}
	populated, err := c.populated()
	if err != nil {
		return err
	}
	grand, err := c.children()
	if err != nil {
		return err
	}
	ours := name == daemonDir || name == jobsDir // an unmarked one is what a crash between mkdir and mark leaves: empty
	switch {
	case populated:
		return &ForeignError{subtree, fmt.Sprintf("the cgroup %q in it has processes", name)}
	case !ours && !inside, len(grand) > 0:
		return &ForeignError{subtree, fmt.Sprintf("the cgroup %q in it is not tsubo's", name)}
	}
	return nil
}
