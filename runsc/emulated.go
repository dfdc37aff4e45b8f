package runsc

import (
	"os"
	"strings"
)

// Emulated says, from /proc/cpuinfo, that QEMU translates the instructions of this machine (TCG) and that no processor runs them.
//
// There systrap must not patch system calls. The sentry writes a jump over the code of a running thread, and a thread that meets the
// patch half done faults on a byte that is no instruction and is sent back to see the whole. A QEMU before 8.1 can keep the translation of
// the half for ever, when another of its processors wrote while it read: then the thread faults and goes back without end, and hears of no
// signal, not even the one that is to end it. A real processor reads again after a fault.
func Emulated() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && translated(string(info))
}

// translated looks for what QEMU calls the processor that it makes up, unless told to call it otherwise.
func translated(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.HasPrefix(strings.TrimSpace(value), "QEMU TCG CPU")
		}
	}
	return false
}
