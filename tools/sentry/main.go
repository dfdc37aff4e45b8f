// Command gvisor_sentry is the part of the pinned runsc that becomes the sandbox process: the subcommands that runsc executes itself for, and
// nothing else. runsc takes it in its own place when GVISOR_SIDECAR_BINARIES_DIR names its directory. It does what runsc does, in less time
// until the sandbox runs:
//
//   - it links, and so initialises, less than half as much;
//   - it becomes the sandbox's user on all its threads instead of executing itself once more as that (runsc.patch, BecomeNobody);
//   - what takes long with several threads is done before there are any (start_amd64.s);
//   - it brings the filter for the sentry's own system calls along (filters_amd64.go), as releases of runsc do; built from the module alone,
//     runsc makes it anew for every sandbox;
//   - it brings the program of the filter that jobs have along (jobfilter_amd64.go; runsc asks for it by runsc.patch), and makes that of any
//     other as runsc does;
//   - it shows a job neither the name of the host's hardware nor by which descriptor it reads an image (runsc.patch);
//   - it collects no garbage while a sandbox boots, gives its mappings no names, and has as many CPUs as runsc tells it, whatever its cgroup says,
//     whose files the Go runtime would keep open;
//   - what unmounts /proc does so before anything of runsc is initialised (package umount).
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"math"
	"runtime/debug"
	"time"

	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
	"gvisor.dev/gvisor/runsc/gvisorbinaries"
	"gvisor.dev/gvisor/runsc/version"

	_ "github.com/tsubo-run/tsubo/tools/sentry/umount"
)

// version.Version is set by the linker, which drops what nobody refers to.
var _ = version.Version()

const (
	// bootTime is how long the collector waits. A sandbox boots in a tenth of it.
	bootTime = time.Second
	// bootMemory bounds what the sentry may come to until then, in bytes: from there on the collector works. A booted sentry has 12 MB.
	bootMemory = 32 << 20
)

func main() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(bootMemory)
	time.AfterFunc(bootTime, func() {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
	useFilters()
	ready = jobProgram
	const group = "internal use only"
	cli.Run(&gvisorbinaries.GvisorSentry, map[util.SubCommand]string{new(sentrycmd.Boot): group, new(sentrycmd.Umount): group}, nil)
}
