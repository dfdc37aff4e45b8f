package limits

import "os"

// Allowance is added to the job's own memory at hand-over, for the sentry and init, in bytes.
//
// A sandbox with an idle Python takes 18 to 24 MiB, or 33 to 45 MiB including tsubo-init. For a
// busy guest the sentry adds about 25 KiB per thread (1000: 45 MiB in all) and 0.7 MiB per process
// with its kept stubs (a fork bomb of 100: 97 MiB in all). With the allowance a Python job of 64
// MiB can fill 104 MiB, and one of 256 MiB can fill 296, without its own interpreter. Without the
// allowance these are 40 and 232 MiB. A job of 100 processes uses some tens of MiB of its own
// memory.
//
// At boot there is no allowance: the guest sees memory.max as MemTotal, and the smallest job boots
// in its 64 MiB (32 MiB sufficed in a test).
const Allowance int64 = 64 << 20

// pageFloor rounds n down to whole pages, as the kernel does.
func pageFloor(n int64) int64 { return n - n%int64(os.Getpagesize()) }
