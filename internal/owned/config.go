package owned

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tsubo-run/tsubo/config"
)

// Path is one path of a configuration and why somebody besides root could replace what lies there;
// a nil Err means that nobody could.
type Path struct {
	Field, Path string
	Err         error
}

// SandboxesDir is the directory below run_dir that holds the bundles of sandboxes.
func SandboxesDir(cfg *config.Config) string { return filepath.Join(cfg.RunDir, "sandboxes") }

// Paths looks at every path that the daemon trusts, but for runsc_path, at which package runsc
// looks. Whoever can write to run_dir can exchange the bundle of a sandbox between its writing and
// its boot, and so run anything as the host's root.
func Paths(cfg *config.Config) []Path {
	out := []Path{
		{"data_dir", cfg.DataDir, Dir(cfg.DataDir)},
		{"run_dir", cfg.RunDir, Dir(cfg.RunDir)},
		{"init_path", cfg.InitPath, File(cfg.InitPath)},
	}
	if out[1].Err == nil { // else its reason would be reported twice
		out = append(out, Path{"run_dir", SandboxesDir(cfg), Dir(SandboxesDir(cfg))})
	}
	if cfg.File != "" {
		out = append(out, Path{"--config", cfg.File, File(cfg.File)})
	}
	return out
}

// Refuse joins an error for every path that somebody besides root could replace.
func Refuse(cfg *config.Config) error {
	var errs []error
	for _, p := range Paths(cfg) {
		if p.Err != nil {
			errs = append(errs, fmt.Errorf("field %s: %w", p.Field, p.Err))
		}
	}
	return errors.Join(errs...)
}
