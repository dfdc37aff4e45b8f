package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// sentryName is the file name of the binary that runsc can use for the sandbox process. sentryDir
// is the variable with the binary's directory (runsc/gvisorbinaries).
const (
	sentryName = "gvisor_sentry"
	sentryDir  = "GVISOR_SIDECAR_BINARIES_DIR"
)

// noSentries is a directory in which no file can be created. If sentryDir is unset, runsc takes
// gvisor-bin beside its own file, whoever owns that.
const noSentries = "/proc/tsubo-no-sentry"

// ErrSentry reports that a sentry binary does not fit this runsc, which can boot sandboxes without
// it.
var ErrSentry = errors.New("cannot be used with this runsc")

// UseSentry makes runsc boot sandboxes with the binary at path. The binary must pass the rules of
// [Find], have runsc's exact version, and be executable by every user, because a process that has
// dropped root executes it. Its directory must contain nothing else, because runsc looks there for
// further programs. From then on Check covers the sentry, too. UseSentry must be called before the
// first sandbox.
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
			return fmt.Errorf("sentry %q: %w: %q denies access to the sandbox's user (chmod o+x)", path, ErrSentry, at)
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
			return fmt.Errorf("sentry %q: %q is beside the sentry, where runsc could execute it: remove it",
				path, e.Name())
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
		return fmt.Errorf("sentry %q: %w: its version is %s, runsc's is %s", path, ErrSentry, theirs, ours)
	}
	r.sentry = s
	return nil
}

// checkExecutable returns an error unless the sandbox process executes the file that was checked:
// the sentry if there is one, or else runsc.
func (r *Runsc) checkExecutable(pid int) error {
	want := r
	if r.sentry != nil {
		want = r.sentry
	}
	exe := fmt.Sprintf("/proc/%d/exe", pid)
	info, err := os.Stat(exe)
	if err != nil {
		return fmt.Errorf("check what the sandbox process executes: %w", err)
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
