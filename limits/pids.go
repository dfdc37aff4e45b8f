package limits

import "github.com/tsubo-run/tsubo/job"

// maxTasks bounds the tasks of a job, far above the wire's 1000.
const maxTasks = 16_384

// PIDsMax is the leaf's pids.max. It is meant never to strike: RLIMIT_NPROC, which the sentry
// enforces, answers a fork bomb with EAGAIN, whereas a thread that the host refuses ends the sentry
// (exit code 2, pids.events max > 0).
//
// The tasks of a leaf are the sentry's threads (9 to 17 when idle, with 2 and with 8 CPUs) and, for
// each guest process, a stub process with up to as many threads as the guest has CPUs; guest
// threads beyond that cost the host nothing (1000 sleeping threads in one process: 14 tasks in
// all). Stubs of processes that ended are kept for reuse and outnumber the living in a storm of
// forks. The most that was seen, with 2 CPUs, was 246 tasks for 50 guest tasks and 497 for 100, by
// processes that all fork; execve, threads and short-lived children came to less. A job that fills
// kept stubs with threads in turn could get to about tasks × (CPUs + 4).
func (g Boot) PIDsMax() int64 {
	cpus := int64(job.GuestCPUs(g.CPU))
	return 64 + 4*cpus + int64(g.Tasks)*(cpus+6)
}
