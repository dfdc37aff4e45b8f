package sandbox

import (
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
	Environment map[string]string // of the job type
	Limits      job.Limits
}
