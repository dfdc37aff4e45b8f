// Command tsubo-init is PID 1 of a sandbox. It takes no arguments: the daemon tells it what to do over descriptor 0.

// The runtime must not go looking for cgroups, nor come back to look again: the sandbox has none, and each look costs system calls.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import "github.com/tsubo-run/tsubo/guest"

func main() { guest.Main() }
