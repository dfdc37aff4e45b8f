package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// sentryName is what runsc calls the binary that it boots sandboxes with in its own place, and sentryDir the variable that says where it is
// (runsc/gvisorbinaries).
const (
	sentryName = "gvisor_sentry"
	sentryDir  = "GVISOR_SIDECAR_BINARIES_DIR"
)

// noSentries is a directory in which nobody can make a file. runsc takes gvisor-bin beside its own file when sentryDir is unset,
// whoever that belongs to.
const noSentries = "/proc/tsubo-no-sentry"

// ErrSentry says that a sentry binary cannot be used beside this runsc, which boots sandboxes without it as well.
var ErrSentry = errors.New("cannot be used with this runsc")

// UseSentry makes runsc boot sandboxes with the binary at path, which must be trustworthy as Find has it, of runsc's very version, and
// within reach of everybody, since it is executed by a process that is root no more. Nothing else may lie in its directory, where
// runsc looks for further programs. Check looks at it too from then on. It comes before the first sandbox.
func (r *Runsc) UseSentry(ctx context.Context, path string) error {
	if filepath.Base(path) != sentryName {
		return fmt.Errorf("sentry %q: the file must be named %s", path, sentryName)
	}
	s, err := find(path, r.top, r.owners)
	if err != nil {
		return err
	}
	if filepath.Base(s.Path) != sentryName {
		return fmt.Errorf("sentry %q: the file must be named %s, not %q", path, sentryName, s.Path)
	}
	for at := s.Path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("find the sentry: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("sentry %q: %w: %q keeps the sandbox's user out (chmod o+x)", path, ErrSentry, at)
		}
		if at == r.top || at == "/" {
			break
		}
	}
	entries, err := os.ReadDir(filepath.Dir(s.Path))
	if err != nil {
		return fmt.Errorf("find the sentry: %w", err)
	}
	for _, e := range entries {
		if e.Name() != sentryName {
			return fmt.Errorf("sentry %q: %q lies beside it, which runsc could execute: remove it", path, e.Name())
		}
	}
	ours, err := r.Version(ctx)
	if err != nil {
		return err
	}
	theirs, err := s.Version(ctx)
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("sentry %q: %w: it is of version %s, runsc of %s", path, ErrSentry, theirs, ours)
	}
	r.sentry = s
	return nil
}

// checkExecutable makes sure that the sandbox process executes the very file that was checked: the sentry of UseSentry, else runsc.
func (r *Runsc) checkExecutable(pid int) error {
	want := r
	if r.sentry != nil {
		want = r.sentry
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	info, err := os.Stat(exe)
	if err != nil {
		return fmt.Errorf("look at what the sandbox process executes: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	want.mu.Lock()
	defer want.mu.Unlock()
	if !ok || st.Dev != want.id.dev || st.Ino != want.id.ino {
		name, _ := os.Readlink(exe)
		return fmt.Errorf("%w: the sandbox process executes %q instead of %s", ErrChanged, name, want.Path)
	}
	return nil
}
