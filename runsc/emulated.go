package runsc

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// Emulated says, from /proc/cpuinfo, that QEMU translates the instructions of this machine (TCG) and that no processor runs them.
//
// There systrap must not patch system calls. The sentry writes a jump over the code of a running thread, and a thread that meets the
// patch half done faults on a byte that is no instruction and is sent back to see the whole. QEMU 7.2 was seen to keep its translation of
// the half, most likely when one of its processors wrote while another read: then the thread faults and goes back without end, and hears of
// no signal, not even the one that is to end it. A real processor reads again after a fault.
func Emulated() bool {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	return translated(f)
}

// translated looks for what QEMU calls the processor that it makes up, unless told to call it otherwise, and reads no further than the first.
func translated(cpuinfo io.Reader) bool {
	for lines := bufio.NewScanner(cpuinfo); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.HasPrefix(strings.TrimSpace(value), "QEMU TCG CPU")
		}
	}
	return false
}
