// Package sandbox runs one job in one gVisor sandbox that is used once: Boot makes it and waits until the job's runner waits in it,
// Run hands a job over and reports what came of it, Destroy takes every trace of it off the host.
//
// Everything that comes out of a sandbox is hostile: frames are read under a byte budget with deadlines that the daemon owns, and what
// decides about oom, the pids limit and usage are the leaf's own files. A failure before the code's first byte is an error, since nothing
// of the job has happened and it can be tried again; everything after it is a value in job.Result.
//
// The package is long because a sandbox has two ways to come up, with an image and before one is known, and one life after that.
package sandbox
