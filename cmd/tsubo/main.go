// Command tsubo talks to tsubod; see package internal/cli.
package main

import (
	"os"

	"github.com/tsubo-run/tsubo/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
