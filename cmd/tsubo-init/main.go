// Command tsubo-init is PID 1 of a sandbox. It takes no arguments; the daemon controls it over
// descriptor 0. Started as the job with the argument "canary", it is the job of tsubod's self-test
// instead (package guest/canary).

// The runtime must not look for cgroups, at start or later: the sandbox has none, and each look
// costs system calls. Naming each mapping costs system calls, too.
//
//go:debug containermaxprocs=0
//go:debug decoratemappings=0
//go:debug updatemaxprocs=0
package main

import (
	"os"

	"github.com/tsubo-run/tsubo/guest"
	"github.com/tsubo-run/tsubo/guest/canary"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "canary" {
		canary.Main(os.Args[2:])
		return
	}
	guest.Main()
}
