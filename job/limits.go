package job

import "math"

// MiB is 2^20 bytes.
const MiB = 1 << 20

// Limits is everything that bounds one job. A zero value is never "unlimited": config and api fill
// every field before a Spec leaves them, and Check refuses what is not positive.
type Limits struct {
	Memory int64   // bytes the job may use: its processes, /tmp, /output, /code and /input together
	CPU    float64 // cores, as cgroup v2 cpu.max quota/period

	PIDs   int    // tasks the job may have, enforced inside as RLIMIT_NPROC = min(NProc, PIDs)
	NProc  Rlimit // RLIMIT_NPROC
	NoFile Rlimit // RLIMIT_NOFILE
	FSize  uint64 // RLIMIT_FSIZE, bytes

	Tmp    int64 // size of the tmpfs on /tmp, bytes
	Output int64 // size of the tmpfs on /output, bytes
	// SharedMemory is the size of /dev/shm in bytes, charged to Memory (ruling 22); 0: it is not
	// writable.
	SharedMemory int64

	Stdout         int64 // bytes of stdout kept
	Stderr         int64 // bytes of stderr kept
	Artifact       int64 // bytes of one artifact
	ArtifactsTotal int64 // bytes of all artifacts together
	Artifacts      int   // number of directory entries of /output that are looked at
}

// Rlimit is a soft and a hard resource limit (getrlimit(2)).
type Rlimit struct{ Soft, Hard uint64 }

// GuestCPUs is the number of CPUs that the guest sees for a quota of cores: the sentry never goes
// under 2.
func GuestCPUs(cores float64) int {
	return max(2, int(math.Ceil(cores)))
}

// Tasks is the RLIMIT_NPROC that holds inside: the smaller of the configured rlimit and of the pids
// limit.
func (l Limits) Tasks() Rlimit {
	pids := uint64(l.PIDs)
	return Rlimit{Soft: min(l.NProc.Soft, pids), Hard: min(l.NProc.Hard, pids)}
}
