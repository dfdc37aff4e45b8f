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

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/netns"
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
// nothing is left behind. An *ImageError means that the image is at fault.
func (h *Host) Boot(ctx context.Context, shape Shape) (*Sandbox, error) {
	s := &Sandbox{host: h, id: newID(), shape: shape}
	s.dir = filepath.Join(h.Dir, s.id)
	if err := s.boot(ctx); err != nil {
		err = fmt.Errorf("boot sandbox %s: %w", s.id, err)
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
		defer cancel()
		return nil, errors.Join(err, s.Destroy(clean))
	}
	return s, nil
}

func (s *Sandbox) boot(ctx context.Context) (err error) {
	h := s.host
	cgroup := ""
	if h.Leaves != nil {
		size := limits.BootOf(s.shape.Limits)
		size.Background = s.shape.Background
		if s.leaf, err = h.Leaves.Create(ctx, s.id, size); err != nil {
			return err
		}
		cgroup = s.leaf.CgroupsPath()
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the bundle: %w", err)
	}
	config := bundle.Config(bundle.Params{
		Root:         bundle.Tree{Kind: string(s.shape.Root.Kind), Path: s.shape.Root.Path},
		Guest:        bundle.Tree{Kind: string(h.Guest.Kind), Path: h.Guest.Path},
		Cgroup:       cgroup,
		Limits:       s.shape.Limits,
		SharedMemory: s.shape.Limits.SharedMemory,
		Seccomp:      h.Seccomp,
	})
	if err := bundle.Write(s.dir, config); err != nil {
		return err
	}
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	s.control = ours
	s.reader = frames.NewReader(ours, frames.Init, frames.BootBudget)
	s.writer = frames.NewWriter(ours, 0)
	if err := s.start(ctx, theirs); err != nil {
		return errors.Join(err, theirs.Close())
	}
	if err := theirs.Close(); err != nil {
		return fmt.Errorf("close the guest's end of the control socket: %w", err)
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	return s.measure()
}

// start runs runsc from a thread inside an empty network namespace.
func (s *Sandbox) start(ctx context.Context, stdin *os.File) (err error) {
	if s.ns, err = s.host.Netns.Take(ctx); err != nil {
		return err
	}
	err = s.ns.Do(func() error {
		_, err := s.host.Runsc.Run(ctx, runsc.RunOpts{ID: s.id, Bundle: s.dir, Stdin: stdin})
		return err
	})
	if err == nil && s.leaf == nil {
		s.pids, err = s.host.Runsc.Processes(s.dir)
	}
	return err
}

func (s *Sandbox) awaitReady(ctx context.Context) error {
	defer s.breakOff(ctx)()
	language := frames.Python
	if s.shape.Language == job.Command {
		language = frames.Command
	}
	err := s.writer.Send(frames.Boot{
		Version:  frames.Version,
		Language: language,
		Argv:     s.shape.Command,
		Env:      s.shape.environment(),
		Cwd:      s.shape.Config.WorkingDir,
		UID:      jobUID,
		GID:      jobUID,
		Preload:  s.shape.Preload,
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
