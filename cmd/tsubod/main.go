// Command tsubod is the daemon; see package internal/daemon.
package main

import (
	"os"

	"github.com/tsubo-run/tsubo/internal/daemon"
)

func main() { os.Exit(daemon.Main(os.Args, os.Stderr)) }
