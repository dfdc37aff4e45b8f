package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unixPathMax is the size of sun_path. runsc needs the path to be shorter (createControlSocket).
const unixPathMax = 108

// UseRoot makes dir, with mode 0700, the directory of runsc's state. Its parent must exist. An
// existing directory must belong to the daemon's user.
func (r *Runsc) UseRoot(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return fmt.Errorf("runsc root %q: the path must be absolute and clean", dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the runsc root: %w", err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the runsc root %q: %w", dir, err)
	}
	defer func() { _ = unix.Close(fd) }() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("check the runsc root %q: %w", dir, err)
	}
	if st.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("runsc root %q belongs to uid %d, not to this daemon", dir, st.Uid)
	}
	if err := unix.Fchmod(fd, 0o700); err != nil {
		return fmt.Errorf("set the mode of the runsc root %q: %w", dir, err)
	}
	r.Root = dir
	return nil
}

// checkRoot returns an error for an id whose socket runsc would put elsewhere.
func (r *Runsc) checkRoot(id string) error {
	if r.Root == "" {
		return errors.New("no runsc root: call UseRoot first")
	}
	if n := len(filepath.Join(r.Root, socketName(id))); n >= unixPathMax {
		return fmt.Errorf("runsc root %q: the control socket's path would have %d bytes, over %d", r.Root, n,
			unixPathMax-1)
	}
	return nil
}

// Names of the files in Root (runsc/container/state_file.go buildPath, runsc/sandbox/sandbox.go
// controlSocketName).
const (
	ofSandbox = "_sandbox:" // separates a container's id from its sandbox's id
	stateExt  = ".state"
	lockExt   = ".lock"
)

func socketName(id string) string { return "runsc-" + id + ".sock" }

// sandboxOf returns the id of the sandbox that a file in Root belongs to, or "" for any other file.
func sandboxOf(name string) string {
	var id string
	if rest, ok := strings.CutPrefix(name, "runsc-"); ok && strings.HasSuffix(rest, ".sock") {
		id = strings.TrimSuffix(rest, ".sock")
	} else if _, rest, ok := strings.Cut(name, ofSandbox); ok {
		for _, ext := range []string{stateExt, lockExt} {
			if strings.HasSuffix(rest, ext) {
				id = strings.TrimSuffix(rest, ext)
			}
		}
	}
	if CheckID(id) != nil {
		return ""
	}
	return id
}

// RemoveState removes runsc's files of a sandbox whose processes are dead, and of its containers.
// It does not run runsc, is idempotent, tries every file and joins all errors.
func (r *Runsc) RemoveState(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	names, err := r.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if sandboxOf(name) != id {
			continue
		}
		if err := os.Remove(filepath.Join(r.Root, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove runsc's state: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Leftovers returns the sorted ids of the sandboxes that have files in Root. When the daemon
// starts, these are the leftovers of a crash.
func (r *Runsc) Leftovers() ([]string, error) {
	names, err := r.names()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range names {
		if id := sandboxOf(name); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// names lists Root. A missing root is empty.
func (r *Runsc) names() ([]string, error) {
	if r.Root == "" {
		return nil, errors.New("no runsc root: call UseRoot first")
	}
	f, err := os.Open(r.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the runsc root: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the runsc root: %w", err)
	}
	return names, nil
}

// maxState limits how much of a state file is read, in bytes.
const maxState = 1 << 20

// GoferPID returns the pid of the sandbox's gofer process. Zero means that the sandbox has no
// gofer, because its root is an EROFS image.
func (r *Runsc) GoferPID(id string) (int, error) {
	if err := CheckID(id); err != nil {
		return 0, err
	}
	f, err := os.Open(filepath.Join(r.Root, id+ofSandbox+id+stateExt))
	if err != nil {
		return 0, fmt.Errorf("read runsc's state: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	var state struct{ GoferPid int }
	if err := json.NewDecoder(io.LimitReader(f, maxState)).Decode(&state); err != nil {
		return 0, fmt.Errorf("read runsc's state of %s: %w", id, err)
	}
	return state.GoferPid, nil
}
