package limits

import (
	"fmt"
	"os"
	"strconv"
)

// Allowance is what a leaf gets beyond the job's own memory at hand-over, for the sentry and init.
const Allowance int64 = 64 << 20

// BootMemory is memory.max while a sandbox boots for a job with so much memory.
func BootMemory(memory int64) int64 { return memory }

// pageFloor is n as the kernel keeps it.
func pageFloor(n int64) int64 { return n - n%int64(os.Getpagesize()) }

func parseBytes(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("memory value %q: not a number of bytes", s)
	}
	return n, nil
}
