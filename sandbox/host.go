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

// Host is what sandboxes are made from. It is filled once, by whoever owns the parts, and is then safe for concurrent use.
type Host struct {
	Runsc   *runsc.Runsc
	Leaves  *limits.Tree // nil on a degraded host: no leaf, and Enforced says so
	Netns   *netns.Stock
	Guest   rootfs.Root // the image on /.tsubo; the owner keeps its lease
	Empty   rootfs.Root // EmptyTree, for BootSentry, which fails without it; the owner keeps its lease
	Seccomp *specs.LinuxSeccomp
	Dir     string // run-time directory of sandboxes, one folder each, mode 0700
	Log     *slog.Logger
}

// Shape is all of a sandbox that is settled when it boots. Two jobs of one shape could use the same waiting sandbox. Of Limits only
// what the guest sees or what cannot be changed later counts: memory, GuestCPUs, tmpfs sizes, rlimits.
type Shape struct {
	Root        rootfs.Root // leased by the caller until Destroy has returned
	Config      job.ImageConfig
	Language    job.Language
	Command     []string
	Workdir     string            // of the job type: absolute, or "" for the default
	Environment map[string]string // of the job type
	Limits      job.Limits
	Preload     []string // modules that the waiting runner imports before it waits

	// Background says that nobody waits for this boot: the sandbox's CPU weight is low until its job is handed over.
	Background bool
	// Hurry, when it is closed during such a boot, says that somebody waits for it after all: the weight is that of a job from then on.
	Hurry <-chan struct{}
}

// Key is equal for two shapes whose waiting sandboxes can stand in for each other, and for no others: it covers everything that is settled
// at boot except Host's own parts, which are the same for as long as the Host is.
func (s Shape) Key() string {
	h := sha256.New()
	number := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	text := func(all ...string) { // lengths first, so that no two lists run together
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
