// Package sandbox runs a job in a gVisor sandbox, which is used once. [Host.Boot] returns when the
// sandbox's runner waits for a job, [Sandbox.Run] hands a job over and returns its result, and
// [Sandbox.Destroy] removes every trace of the sandbox from the host.
//
// All data that leaves a sandbox is hostile. Frames are read under a byte budget and under
// deadlines that the daemon owns. Out-of-memory, pids limit and usage come from the files of the
// cgroup leaf alone. A failure before the code's first byte is an error: nothing of the job has
// happened, so the job can be retried. Every later failure is a value in [job.Result].
//
// The package is long because a sandbox can boot in two ways, with its image or before the image is
// known, and because both share the later life cycle.
package sandbox
