package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
)

// Size is everything about a sandbox that is fixed before its image is known. Two jobs of the same
// size can use the same empty sandbox.
type Size struct {
	Memory int64 // bytes
	CPUs   int   // number of CPUs that the guest sees
	Tasks  int
}

// SizeOf returns the size of a job with these limits.
func SizeOf(l job.Limits) Size {
	boot := limits.BootOf(l)
	return Size{Memory: boot.Memory, CPUs: job.GuestCPUs(boot.CPU), Tasks: boot.Tasks}
}

// ErrNoSentry reports that this host cannot have empty sandboxes: Host.Empty is missing, or a root
// is not an EROFS image.
var ErrNoSentry = errors.New("no empty sandboxes: they need EROFS images")

// Sentry is an empty sandbox, booted before its job is known: a sentry in a leaf of its size, with
// a process that only waits. [Sentry.Add] turns a Sentry into the sandbox of a job. A Sentry has
// run no caller's code, is used once, and is not safe for concurrent use.
type Sentry struct {
	box     *Sandbox // without shape and control socket
	size    Size
	control *runsc.Control // nil once the Sentry is used or destroyed
	used    bool
}

// BootSentry boots an empty sandbox and returns once a container can be added. No job waits for an
// empty sandbox, so it boots with a low CPU weight. On error, or if ctx ends first, BootSentry
// leaves nothing behind. [ErrNoSentry] is permanent.
func (h *Host) BootSentry(ctx context.Context, size Size) (*Sentry, error) {
	if h.Empty.Kind != rootfs.EROFS || h.Guest.Kind != rootfs.EROFS {
		return nil, ErrNoSentry
	}
	s := &Sentry{box: h.newSandbox(), size: size}
	if err := s.boot(ctx); err != nil {
		return nil, s.box.undo(ctx,
			fmt.Errorf("boot empty sandbox %s: %w", s.box.id, errors.Join(err, s.closeControl())))
	}
	return s, nil
}

func (s *Sentry) boot(ctx context.Context) error {
	box, h := s.box, s.box.host
	leaf := limits.Boot{Memory: s.size.Memory, CPU: float64(s.size.CPUs), Tasks: s.size.Tasks, Background: true}
	if err := box.makeLeaf(ctx, leaf); err != nil {
		return err
	}
	err := box.launch(ctx, nil, func(cgroup string) *specs.Spec {
		return bundle.Empty(bundle.Tree{Kind: bundle.EROFS, Path: h.Empty.Path}, cgroup, h.Seccomp.Architectures[0])
	})
	if err != nil {
		return err
	}
	if s.control, err = h.Runsc.Connect(ctx, box.id); err != nil {
		return err
	}
	if err := s.control.Create(ctx, jobContainer); err != nil {
		return err
	}
	return box.measure()
}

// jobContainer is the ID of the job's container inside its sandbox.
const jobContainer = "job"

// Add turns the Sentry into a sandbox of the given shape, which must have the same size, and
// returns once the job's runner waits. Add uses the Sentry up: on error, or if ctx ends first, the
// sandbox is destroyed. An [*ImageError] means that the image is at fault.
func (s *Sentry) Add(ctx context.Context, shape Shape) (*Sandbox, error) {
	if err := s.Waiting(); err != nil {
		return nil, errors.Join(fmt.Errorf("add to empty sandbox %s: %w", s.box.id, err), s.Destroy(ctx))
	}
	s.used, s.box.shape = true, shape
	err := s.add(ctx, shape)
	// Close the connection before the first byte of a job's code, which arrives with Run.
	if err := errors.Join(err, s.closeControl()); err != nil {
		return nil, s.box.undo(ctx, fmt.Errorf("add to empty sandbox %s: %w", s.box.id, err))
	}
	return s.box, nil
}

func (s *Sentry) add(ctx context.Context, shape Shape) error {
	box, h := s.box, s.box.host
	switch {
	case SizeOf(shape.Limits) != s.size:
		return fmt.Errorf("the shape has size %+v, the empty sandbox %+v", SizeOf(shape.Limits), s.size)
	case shape.Root.Kind != rootfs.EROFS:
		return ErrNoSentry
	}
	defer box.hurry()()
	if box.leaf != nil && !shape.Background {
		if err := box.leaf.Promote(); err != nil {
			return err
		}
	}
	p := box.params()
	p.Sandbox = box.id
	spec, err := bundle.Encode(bundle.Config(p))
	if err != nil {
		return err
	}
	err = box.greet(ctx, func(theirs *os.File) error {
		return s.control.Start(ctx, runsc.Container{
			ID: jobContainer, Spec: spec, Images: []string{shape.Root.Path, h.Guest.Path}, Stdin: theirs,
		})
	})
	if err != nil {
		return err
	}
	return box.measure()
}

func (s *Sentry) closeControl() error {
	if s.control == nil {
		return nil
	}
	err := s.control.Close()
	s.control = nil
	return err
}

// Waiting returns nil if the empty sandbox still waits unharmed, or why it must be destroyed. It
// does not block.
func (s *Sentry) Waiting() error {
	if s.control == nil {
		return errors.New("the empty sandbox is used or destroyed")
	}
	return s.control.Alive()
}

// Footprint returns the memory of the empty sandbox's leaf in bytes, read once after the boot.
func (s *Sentry) Footprint() int64 { return s.box.footprint }

// ID returns the name of the Sentry's leaf, directory and runsc state.
func (s *Sentry) ID() string { return s.box.id }

// Destroy is [Sandbox.Destroy] for an unused Sentry. After Add it does nothing, even if Add failed.
func (s *Sentry) Destroy(ctx context.Context) error {
	if s.used {
		return nil
	}
	return errors.Join(s.closeControl(), s.box.Destroy(ctx))
}
