package limits

import "github.com/tsubo-run/tsubo/job"

// maxTasks limits the tasks of a job. It is far above the API's limit of 1000.
const maxTasks = 16_384

// PIDsMax returns the leaf's pids.max, which should never be reached. The sentry enforces
// RLIMIT_NPROC and answers a fork bomb with EAGAIN. If the host refuses a thread instead, the
// sentry dies (exit code 2, pids.events max > 0).
//
// The tasks of a leaf are the sentry's threads (9 to 17 when idle, with 2 and with 8 CPUs) and a
// stub process for each guest process. A stub has at most as many threads as the guest has CPUs;
// further guest threads cost the host nothing (1000 sleeping threads in one process: 14 tasks in
// all). Stubs of exited processes are kept for reuse and outnumber the living during a storm of
// forks. The highest measured counts, with 2 CPUs, were 246 tasks for 50 guest tasks and 497 for
// 100, when all processes forked. execve, threads and short-lived children needed fewer. A job that
// fills kept stubs with threads in turn could reach about tasks × (CPUs + 4).
func (g Boot) PIDsMax() int64 {
	cpus := int64(job.GuestCPUs(g.CPU))
	return 64 + 4*cpus + int64(g.Tasks)*(cpus+6)
}
