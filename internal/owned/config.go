package owned

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tsubo-run/tsubo/config"
)

// Path is a path of a configuration. Err is why a user other than root could replace the file
// there; nil means that none could.
type Path struct {
	Field, Path string
	Err         error
}

// SandboxesDir returns the directory below run_dir that holds the bundles of sandboxes.
func SandboxesDir(cfg *config.Config) string { return filepath.Join(cfg.RunDir, "sandboxes") }

// Paths checks every path that the daemon trusts, except runsc_path, which package runsc checks. A
// user who can write to run_dir could exchange a sandbox's bundle before its boot, and so run
// anything as the host's root.
func Paths(cfg *config.Config) []Path {
	out := []Path{
		{"data_dir", cfg.DataDir, Dir(cfg.DataDir)},
		{"run_dir", cfg.RunDir, Dir(cfg.RunDir)},
		{"init_path", cfg.InitPath, File(cfg.InitPath)},
	}
	if out[1].Err == nil { // otherwise the error would be reported twice
		out = append(out, Path{"run_dir", SandboxesDir(cfg), Dir(SandboxesDir(cfg))})
	}
	if cfg.File != "" {
		out = append(out, Path{"--config", cfg.File, File(cfg.File)})
	}
	return out
}

// Refuse returns the joined errors of all paths that a user other than root could replace.
func Refuse(cfg *config.Config) error {
	var errs []error
	for _, p := range Paths(cfg) {
		if p.Err != nil {
			errs = append(errs, fmt.Errorf("field %s: %w", p.Field, p.Err))
		}
	}
	return errors.Join(errs...)
}
