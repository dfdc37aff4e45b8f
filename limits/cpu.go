package limits

import "math"

const (
	// cpuPeriod is the period of cpu.max in microseconds, the kernel's default.
	cpuPeriod = 100_000
	// minCPU is a hundredth of a core: 1 ms in each period, the least that the kernel takes as a
	// quota.
	minCPU = 0.01
	maxCPU = 1024

	// weight is cpu.weight of a leaf with a job, the kernel's default; backgroundWeight that of one
	// that boots for nobody yet, which so gets a tenth of what a running job gets where both want
	// the CPU.
	weight           = 100
	backgroundWeight = 10
)

// quota is a number of cores as microseconds in each cpuPeriod.
func quota(cores float64) int64 { return int64(math.Round(cores * cpuPeriod)) }
