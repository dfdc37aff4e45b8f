// Package umount is runsc's subcommand umount, for which every sandbox's boot executes the sentry binary once: it detaches /proc when a byte is
// read from descriptor 3. It is done here before anything of runsc is initialised, which is most of the time it would take. Go
// initialises packages in the order of their paths unless one imports another, and this one imports nothing that is not needed at any start.
package umount

import (
	"os"
	"slices"
	"syscall"
)

// args is how runsc asks for it (sandboxsetup.ExecProcUmounter). Asked in any other way, runsc's own code does it.
var args = []string{"umount", "--sync-fd=3", "/proc"}

func init() {
	if len(os.Args) == 0 || !slices.Equal(os.Args[1:], args) {
		return
	}
	// The sentry takes any other status than 0 for a failure, and looks for itself whether /proc is gone.
	if n, err := os.NewFile(3, "sync file").Read(make([]byte, 1)); err != nil || n != 1 || syscall.Unmount("/proc", syscall.MNT_DETACH) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
