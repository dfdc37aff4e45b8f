package tsubod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Install copies tsubo-init, and the sentry binary beside it if there is one, from bin into a new
// directory, which is the caller's to remove. A clone may lie where others can write (/tmp), and
// tsubod executes nothing from there, or where nobody else may look (/root), and then it boots
// sandboxes with runsc alone: what is measured must not hang on that.
func Install(bin string) (dir string, err error) {
	dir, err = os.MkdirTemp("/var/lib", "tsubo-bin-")
	if err != nil {
		return "", fmt.Errorf("make a directory for tsubo-init: %w", err)
	}
	const sentries = "gvisor-bin"
	err = errors.Join(os.Mkdir(filepath.Join(dir, sentries), 0o755), os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, sentries), 0o755)) //nolint:gosec // unprivileged processes execute what is in it
	for _, name := range []string{"tsubo-init", filepath.Join(sentries, "gvisor_sentry")} {
		data, failed := os.ReadFile(filepath.Join(bin, name))
		if name != "tsubo-init" && errors.Is(failed, fs.ErrNotExist) {
			continue
		}
		to := filepath.Join(dir, name)
		if failed == nil {
			failed = errors.Join(os.WriteFile(to, data, 0o755), os.Chmod(to, 0o755)) //nolint:gosec // the same
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}
