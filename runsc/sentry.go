package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// sentryName is what runsc calls the binary that it boots sandboxes with in its own place, and sentryDir the variable that says where it is
// (runsc/gvisorbinaries).
const (
	sentryName = "gvisor_sentry"
	sentryDir  = "GVISOR_SIDECAR_BINARIES_DIR"
)

// ErrSentry says that a sentry binary cannot be used beside this runsc, which boots sandboxes without it as well.
var ErrSentry = errors.New("cannot be used with this runsc")

// UseSentry makes runsc boot sandboxes with the binary at path, which must be trustworthy as Find has it, of runsc's very version, and
// within reach of everybody, since it is executed by a process that is root no more. Check looks at it too from then on. It comes before
// the first sandbox.
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
