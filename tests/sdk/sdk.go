// Package sdk holds the requests that Tako VM's own Python client makes, as a Python program of the
// standard library alone. It is run against the surface in this process here, and against a real
// daemon by tests/system.
package sdk

import (
	_ "embed" // test_shapes.py
	"fmt"
	"os/exec"
)

//go:embed test_shapes.py
var script string

// Run runs the program against the surface at base: http://HOST:PORT or unix:PATH. The error has
// what it said.
func Run(base string) error {
	out, err := exec.Command("python3", "-I", "-B", "-c", script, base).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
