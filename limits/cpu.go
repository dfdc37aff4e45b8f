package limits

import "math"

const (
	// cpuPeriod is the period of cpu.max in microseconds, the kernel's default.
	cpuPeriod = 100_000
	// minCPU is a hundredth of a core: 1 ms in each period. The kernel accepts no smaller quota.
	minCPU = 0.01
	maxCPU = 1024

	// weight is cpu.weight of a leaf with a job, the kernel's default. backgroundWeight is the
	// weight of a sandbox that boots before any job needs it: a tenth of a running job's share
	// under contention.
	weight           = 100
	backgroundWeight = 10
)

// quota converts cores to microseconds in each cpuPeriod.
func quota(cores float64) int64 { return int64(math.Round(cores * cpuPeriod)) }
