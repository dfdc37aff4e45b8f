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

// Sandbox is one booted sandbox. It is used by one goroutine at a time, for one job: Run, then Destroy; or Destroy alone. Once Run has
// returned nothing of it goes on, and Destroy may be called by another goroutine: the result needs nothing of the sandbox.
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
	pids    []int // sandbox and gofer process, on a degraded host only; else the leaf knows them

	footprint int64
	used      bool
}

// ImageError says that the job's image cannot run it: nothing of tsubo's is wrong, and trying again does not help. Message is
// safe to show.
type ImageError struct{ Message string }

func (e *ImageError) Error() string { return e.Message }

// ID is the sandbox's own name: that of its leaf, its folder and its runsc state. It is random and owes nothing to a caller.
func (s *Sandbox) ID() string { return s.id }

// destroyBound bounds the clean-up of a sandbox, which runs on a context of its own.
const destroyBound = 30 * time.Second

// Boot makes a sandbox of that shape and returns once the job's runner waits in it. When ctx ends first, or anything fails,
// nothing is left behind. An *ImageError means that the image is at fault. A boot that is stuck is given up and tried once more (stuck.go).
func (h *Host) Boot(ctx context.Context, shape Shape) (*Sandbox, error) {
	s, err := h.tryBoot(ctx, shape, patience(ctx, shape))
	if errors.Is(err, errStuck) && ctx.Err() == nil {
		return h.tryBoot(ctx, shape, 0)
	}
	return s, err
}

// tryBoot is one try of Boot, given up with errStuck after patience if that is not 0.
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

// newSandbox is one of which nothing exists yet.
func (h *Host) newSandbox() *Sandbox {
	id := newID()
	return &Sandbox{host: h, id: id, dir: filepath.Join(h.Dir, id)}
}

// undo destroys what a boot has made before it failed with err, which it returns with whatever goes wrong now.
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

// greet makes the control socket, has start start init with its far end, and returns once the runner waits. Init is told what to boot
// beforehand: it begins with it while start still sees to its own end.
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
	// Now or very soon nothing has the far end any more; but what was said before is heard.
	_ = ours.SetDeadline(time.Now().Add(time.Second))
	if image := (*ImageError)(nil); errors.As(<-ready, &image) {
		err = errors.Join(err, image) // init has ended before start was done with it, and that is why
	}
	return err
}

// params describes the job's container of the sandbox's shape.
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

// hurry gives the leaf the CPU weight of a job when somebody comes to wait for a boot in the background, until stop is called. Nothing else
// may set the leaf's limits meanwhile.
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
				s.host.Log.Warn("hurry a boot", "sandbox", s.id, "error", err)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// launch makes bundle and namespace, and boots a sandbox with the configuration that config makes for its leaf.
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

// start runs runsc from a thread inside an empty network namespace.
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
		s.pids, err = s.host.Runsc.Processes(s.dir) // a gofer is among them
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
		return fmt.Errorf("wait until the runner waits: %w", cause)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the sandbox ended")
	}
	return fmt.Errorf("wait until the runner waits: %w", err)
}

// addressSpace is the RLIMIT_AS of a job's processes, 0 for none: what they may use, and what an interpreter reserves without using it. An
// allocation beyond that can never succeed, and Python raises MemoryError for it; without a limit it succeeds, and the job dies of oom when it
// touches the pages. Memory that is touched meets the leaf's limit long before. Node.js and commands get none: V8, Go and others reserve many times
// what they use.
func addressSpace(l job.Language, lim job.Limits) int64 {
	if l != job.Python {
		return 0
	}
	const (
		libraries = 1024 * job.MiB // programs, shared libraries, their buffers
		stack     = 8 * job.MiB    // of each thread
		arena     = 64 * job.MiB   // of glibc's malloc, 8 for each CPU at most
	)
	tasks := int64(min(lim.Tasks().Hard, 1<<20)) //nolint:gosec // bounded
	return lim.Memory + libraries + tasks*stack + 8*int64(job.GuestCPUs(lim.CPU))*arena
}

// jobUID is the user and group that every job runs as, whatever its image says (wire.md section 3).
const jobUID = 1000

func (s *Sandbox) checkReady(m frames.Message) error {
	switch m := m.(type) {
	case frames.Ready:
		if m.Version != frames.Version {
			return fmt.Errorf("tsubo-init speaks version %d, want %d", m.Version, frames.Version)
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

// newID is 120 random bits, as a name that fits a cgroup, a folder and runsc.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
