package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
)

// Sandbox is a booted sandbox for a single job: Run, then Destroy, or Destroy alone. A Sandbox is
// not safe for concurrent use. After Run has returned, another goroutine may call Destroy: nothing
// is running any more, and the result does not depend on the sandbox.
type Sandbox struct {
	host  *Host
	id    string
	shape Shape

	leaf    *limits.Leaf // nil on a degraded host
	ns      *netns.NS
	dir     string
	control *os.File
	reader  *frames.Reader
	writer  *frames.Writer
	pids    []int // sandbox and gofer; only on a degraded host, which has no leaf to list them

	footprint int64
	used      bool
}

// ImageError reports that the job's image cannot run the job. A retry does not help. Message is
// safe to show to the caller.
type ImageError struct{ Message string }

func (e *ImageError) Error() string { return e.Message }

// ID returns the sandbox's random name, which its leaf, its directory and its runsc state share.
// The name contains no caller's data.
func (s *Sandbox) ID() string { return s.id }

// destroyBound limits the clean-up of a sandbox, which runs on its own context.
const destroyBound = 30 * time.Second

// Boot boots a sandbox of the given shape and returns once its runner waits for a job. On error, or
// if ctx ends first, Boot leaves nothing behind. An [*ImageError] means that the image is at fault.
// A stuck boot is abandoned and retried once (stuck.go).
func (h *Host) Boot(ctx context.Context, shape Shape) (*Sandbox, error) {
	s, err := h.tryBoot(ctx, shape, patience(ctx, shape))
	if errors.Is(err, errStuck) && ctx.Err() == nil {
		return h.tryBoot(ctx, shape, 0)
	}
	return s, err
}

// tryBoot is one attempt of [Host.Boot]. It fails with errStuck after patience. Zero means no
// limit.
func (h *Host) tryBoot(ctx context.Context, shape Shape, patience time.Duration) (*Sandbox, error) {
	s := h.newSandbox()
	s.shape = shape
	watched, stop := s.watch(ctx, patience)
	defer stop()
	if err := s.boot(watched); err != nil {
		return nil, s.undo(ctx, fmt.Errorf("boot sandbox %s: %w", s.id, err))
	}
	return s, nil
}

// newSandbox returns a Sandbox with a name and without resources.
func (h *Host) newSandbox() *Sandbox {
	id := newID()
	return &Sandbox{host: h, id: id, dir: filepath.Join(h.Dir, id)}
}

// undo destroys the sandbox of a failed boot and returns err joined with the errors of the
// clean-up.
func (s *Sandbox) undo(ctx context.Context, err error) error {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
	defer cancel()
	return errors.Join(err, s.Destroy(clean))
}

func (s *Sandbox) boot(ctx context.Context) error {
	size := limits.BootOf(s.shape.Limits)
	size.Background = s.shape.Background
	calm := func() {}
	defer func() { calm() }()
	err := s.greet(ctx, func(theirs *os.File) error {
		if err := s.makeLeaf(ctx, size); err != nil {
			return err
		}
		calm = s.hurry()
		return s.launch(ctx, theirs, func(cgroup string) *specs.Spec {
			p := s.params()
			p.Cgroup = cgroup
			return bundle.Config(p)
		})
	})
	if err != nil {
		return err
	}
	return s.measure()
}

// greet creates the control socket, lets start launch tsubo-init with its far end, and returns once
// the runner waits. The boot frame is queued before init runs, so init works on the frame while
// start is still returning.
func (s *Sandbox) greet(ctx context.Context, start func(theirs *os.File) error) error {
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	s.control = ours
	s.reader = frames.NewReader(ours, frames.Init, frames.BootBudget)
	s.writer = frames.NewWriter(ours, 0)
	ready := make(chan error, 1)
	go func() { ready <- s.awaitReady(ctx) }()
	err = errors.Join(start(theirs), theirs.Close())
	if err == nil {
		return <-ready
	}
	// No process holds the far end now, or soon. Frames that init sent before still count.
	_ = ours.SetDeadline(time.Now().Add(time.Second))
	if image := (*ImageError)(nil); errors.As(<-ready, &image) {
		err = errors.Join(err, image) // init exited before start returned, and this is the reason
	}
	return err
}

// params returns the bundle parameters of the job's container.
func (s *Sandbox) params() bundle.Params {
	root, guest := s.shape.Root, s.host.Guest
	return bundle.Params{
		Root:         bundle.Tree{Kind: root.Kind, Path: root.Path},
		Guest:        bundle.Tree{Kind: guest.Kind, Path: guest.Path},
		Limits:       s.shape.Limits,
		SharedMemory: s.shape.Limits.SharedMemory,
		Seccomp:      s.host.Seccomp,
	}
}

func (s *Sandbox) makeLeaf(ctx context.Context, size limits.Boot) (err error) {
	if s.host.Leaves != nil {
		s.leaf, err = s.host.Leaves.Create(ctx, s.id, size)
	}
	return err
}

// hurry restores the leaf's normal CPU weight once a caller waits for this background boot
// (Shape.Hurry), until stop is called. Nothing else may change the leaf's limits in between.
func (s *Sandbox) hurry() (stop func()) {
	if s.leaf == nil || s.shape.Hurry == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-quit:
		case <-s.shape.Hurry:
			if err := s.leaf.Promote(); err != nil {
				s.host.Log.Warn("raise the CPU weight of a boot", "sandbox", s.id, "error", err)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// launch writes the bundle with the spec that config returns for the leaf's cgroup path, and boots
// the sandbox.
func (s *Sandbox) launch(ctx context.Context, stdin *os.File, config func(cgroup string) *specs.Spec) error {
	cgroup := ""
	if s.leaf != nil {
		cgroup = s.leaf.CgroupsPath()
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the bundle: %w", err)
	}
	spec := config(cgroup)
	if err := bundle.Write(s.dir, spec); err != nil {
		return err
	}
	return s.start(ctx, stdin, spec.Process.OOMScoreAdj)
}

// start runs runsc on a thread inside an empty network namespace.
func (s *Sandbox) start(ctx context.Context, stdin *os.File, oomScoreAdj *int) (err error) {
	if s.ns, err = s.host.Netns.Take(ctx); err != nil {
		return err
	}
	var pid int
	err = s.ns.Do(func() (err error) {
		pid, err = s.host.Runsc.Run(ctx, runsc.RunOpts{ID: s.id, Bundle: s.dir, Stdin: stdin, OOMScoreAdj: oomScoreAdj})
		return err
	})
	switch {
	case err != nil || s.leaf != nil:
	case s.shape.Root.Kind == rootfs.Directory || s.host.Guest.Kind == rootfs.Directory:
		s.pids, err = s.host.Runsc.Processes(s.dir) // includes the gofer
	default:
		s.pids = []int{pid}
	}
	return err
}

func (s *Sandbox) awaitReady(ctx context.Context) error {
	defer s.breakOff(ctx)()
	cwd, required := s.shape.workingDirectory()
	err := s.writer.Send(frames.Boot{
		Version:      frames.Version,
		Language:     guestLanguage(s.shape.Language),
		Argv:         s.shape.Command,
		Env:          s.shape.environment(),
		Cwd:          cwd,
		CwdRequired:  required,
		UID:          jobUID,
		GID:          jobUID,
		Preload:      s.shape.Preload,
		AddressSpace: addressSpace(s.shape.Language, s.shape.Limits),
	})
	if err == nil {
		var m frames.Message
		if m, err = s.reader.Next(); err == nil {
			return s.checkReady(m)
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("wait for the runner: %w", cause)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the sandbox ended")
	}
	return fmt.Errorf("wait for the runner: %w", err)
}

// addressSpace returns the RLIMIT_AS of a job's processes in bytes. Zero means no limit. The value
// covers what the job may use and what an interpreter reserves but does not touch. A larger
// allocation can never succeed, so it fails at once and Python raises MemoryError. Without the
// limit it would succeed, and the job would be OOM-killed when it touches the pages. Touched memory
// meets the leaf's limit long before RLIMIT_AS. Node.js and commands get no limit: V8, Go and
// others reserve many times what they use.
func addressSpace(l job.Language, lim job.Limits) int64 {
	if l != job.Python {
		return 0
	}
	const (
		libraries = 1024 * job.MiB // programs, shared libraries, their buffers
		stack     = 8 * job.MiB    // per thread
		arena     = 64 * job.MiB   // glibc malloc; at most 8 per CPU
	)
	tasks := int64(min(lim.Tasks().Hard, 1<<20)) //nolint:gosec // bounded
	return lim.Memory + libraries + tasks*stack + 8*int64(job.GuestCPUs(lim.CPU))*arena
}

// jobUID is the UID and GID of every job, whatever its image sets (wire.md section 3).
const jobUID = 1000

func (s *Sandbox) checkReady(m frames.Message) error {
	switch m := m.(type) {
	case frames.Ready:
		if m.Version != frames.Version {
			return fmt.Errorf("tsubo-init has protocol version %d, want %d", m.Version, frames.Version)
		}
		return nil
	case frames.Fatal:
		if m.Stage == frames.StageExec {
			return &ImageError{Message: m.Message}
		}
		return fmt.Errorf("tsubo-init failed at %s (errno %d): %q", m.Stage, m.Errno, m.Message)
	}
	return fmt.Errorf("frame of type %#x instead of ready", m.Type())
}

// newID returns 120 random bits as a name that is valid for a cgroup, a directory and runsc.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
