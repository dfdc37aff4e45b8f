package sandbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
)

// Host holds the parts that sandboxes are made from. The owner fills it once; afterwards a Host is
// safe for concurrent use.
type Host struct {
	Runsc   *runsc.Runsc
	Leaves  *limits.Tree // nil on a degraded host: no leaves, and Enforced reports none
	Netns   *netns.Stock
	Guest   rootfs.Root // the image on /.tsubo; the owner keeps its lease
	Empty   rootfs.Root // EmptyTree; required by BootSentry; the owner keeps its lease
	Seccomp *specs.LinuxSeccomp
	Dir     string // run-time directory, mode 0700, with one subdirectory per sandbox
	Log     *slog.Logger
}

// Shape is everything about a sandbox that is fixed when it boots. Two jobs of the same shape can
// use the same waiting sandbox. Only those Limits count that the guest sees or that cannot change
// later: memory, GuestCPUs, tmpfs sizes and rlimits.
type Shape struct {
	Root        rootfs.Root // leased by the caller until Destroy has returned
	Config      job.ImageConfig
	Language    job.Language
	Command     []string
	Workdir     string            // the job type's absolute directory; "" means the default
	Environment map[string]string // the job type's variables
	Limits      job.Limits
	Preload     []string // modules that the runner imports before it waits

	// Background means that no job waits for this boot. The sandbox's CPU weight stays low until
	// its job is handed over.
	Background bool
	// Hurry is closed when a job starts to wait for a background boot. The CPU weight is then
	// raised to that of a job.
	Hurry <-chan struct{}
}

// Key returns the same string for two shapes exactly if their waiting sandboxes are
// interchangeable. It covers everything that is fixed at boot except Host's parts, which never
// change.
func (s Shape) Key() string {
	h := sha256.New()
	number := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	text := func(all ...string) { // length-prefixed, so that no two lists collide
		number(uint64(len(all)))
		for _, t := range all {
			number(uint64(len(t)))
			_, _ = io.WriteString(h, t)
		}
	}
	workdir, _ := s.workingDirectory()
	text(s.Root.Key, s.Root.Kind, s.Root.Path, workdir, s.Workdir, string(s.Language))
	text(s.Command...)
	text(s.environment()...)
	text(s.Preload...)
	l, tasks := s.Limits, s.Limits.Tasks()
	for _, n := range []uint64{
		uint64(l.Memory), uint64(job.GuestCPUs(l.CPU)), tasks.Soft, tasks.Hard, l.NoFile.Soft, l.NoFile.Hard, l.FSize,
		uint64(l.Tmp), uint64(l.Output), uint64(l.SharedMemory),
	} {
		number(n)
	}
	return hex.EncodeToString(h.Sum(nil))
}
