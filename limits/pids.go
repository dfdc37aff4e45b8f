package limits

// maxTasks bounds the tasks of a job, far above the wire's 1000.
const maxTasks = 16_384

// PIDsMax is the leaf's pids.max for a job of so many tasks inside.
func PIDsMax(tasks int) int64 {
	return int64(64 + 8*tasks)
}
