package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

// prove runs the canary. A wrong answer is fatal in both modes: permissive mode waives resource
// limits, never isolation. warm reports whether empty sandboxes may be used. They have a canary of
// their own: a wrong answer is fatal, but a canary that cannot run is not, since jobs can boot
// without them.
func (d *Daemon) prove(ctx context.Context, cfg *config.Config, host *sandbox.Host,
	roots *rootfs.Store) (warm bool, err error) {
	root, err := d.keptRoot(ctx, roots, canaryKey, canaryTree())
	if err != nil {
		return false, fmt.Errorf("build the canary's root: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, canaryBound)
	defer cancel()
	start := time.Now()
	if err := d.ask(ctx, host.Canary, root); err != nil {
		return false, err
	}
	if cfg.Pool.Enabled && cfg.Pool.WarmMax > 0 {
		err := d.ask(ctx, host.CanaryWarm, root)
		var wrong *sandbox.CanaryError
		switch {
		case errors.As(err, &wrong):
			return false, fmt.Errorf("empty sandboxes: %w", err)
		case err != nil:
			d.log.Warn("no empty sandboxes will wait (warm_max): they cannot be used here", "error", err)
		}
		warm = err == nil
	}
	d.log.Info("self-test passed: sandboxes hold", "runsc", host.Runsc.Path, "warm", warm, "took",
		time.Since(start).Round(time.Millisecond))
	return warm, nil
}

type canary func(ctx context.Context, root rootfs.Root, l job.Limits) error

// ask runs a canary, and repeats it if it does not answer: only an answer is evidence.
func (d *Daemon) ask(ctx context.Context, c canary, root rootfs.Root) (err error) {
	for range canaryTries {
		if err = c(ctx, root, canaryLimits()); !errors.Is(err, sandbox.ErrSilent) {
			break
		}
		d.log.Warn("self-test", "error", err)
	}
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

const (
	// canaryBound limits the self-test; under emulation a first boot takes seconds.
	canaryBound = 4 * time.Minute
	canaryTries = 3
)

func canaryLimits() job.Limits {
	task := job.Rlimit{Soft: 20, Hard: 20}
	return job.Limits{
		Memory: 64 * job.MiB, CPU: 1, PIDs: 20, NProc: task, NoFile: job.Rlimit{Soft: 64, Hard: 64}, FSize: job.MiB,
		Tmp: job.MiB, Output: job.MiB, Stdout: 64 << 10, Stderr: 64 << 10, Artifact: job.MiB, ArtifactsTotal: job.MiB,
		Artifacts: 10,
	}
}

// canaryKey is the key of the canary's root. It must change when canaryTree does.
const canaryKey = "canary-1"

// canaryTree returns a root with only the mount points of a sandbox and the directory
// sandbox.CanaryRoot.
func canaryTree() map[string]rootfs.GuestFile {
	tree := map[string]rootfs.GuestFile{sandbox.CanaryRoot: {Mode: fs.ModeDir | 0o777}}
	for name, mode := range rootfs.MountPoints() {
		tree[name] = rootfs.GuestFile{Mode: fs.ModeDir | mode}
	}
	return tree
}
