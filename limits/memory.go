package limits

import "os"

// Allowance is what a leaf gets beyond the job's own memory at hand-over, for the sentry and init,
// in bytes.
//
// A sandbox with an idle Python is 18 to 24 MiB, 33 to 45 with tsubo-init in it. What the sentry
// adds for a busy guest is about 25 KiB for each thread (1000: 45 MiB in all) and 0.7 MiB for each
// process with its kept stubs (a fork bomb of 100: 97 MiB in all). With the allowance a Python job
// of 64 MiB can fill 104 MiB and one of 256 MiB 296, its own interpreter not counted; with none, 40
// and 232. A job of 100 processes eats some tens of MiB of its own memory.
//
// At boot there is no allowance: memory.max is what the guest sees as MemTotal, and the smallest
// job boots in its 64 MiB (it did in 32).
const Allowance int64 = 64 << 20

// pageFloor is n as the kernel keeps it.
func pageFloor(n int64) int64 { return n - n%int64(os.Getpagesize()) }
