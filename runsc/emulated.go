package runsc

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// Emulated reports, from /proc/cpuinfo, whether QEMU translates this machine's instructions (TCG)
// instead of a processor that executes them.
//
// On such a machine systrap must not patch system calls. The sentry writes a jump over the code of
// a running thread. A thread that meets the half-written patch faults on an invalid byte and is
// sent back to read the whole patch. QEMU 7.2 was seen to keep its translation of the half-written
// code, most likely when one of its processors wrote while another was reading. The thread then
// faults forever and receives no signals, not even SIGKILL. A real processor reads the code again
// after a fault.
func Emulated() bool {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	return translated(f)
}

// translated looks for the default name of QEMU's emulated processor. It reads only the first
// processor.
func translated(cpuinfo io.Reader) bool {
	for lines := bufio.NewScanner(cpuinfo); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.HasPrefix(strings.TrimSpace(value), "QEMU TCG CPU")
		}
	}
	return false
}
