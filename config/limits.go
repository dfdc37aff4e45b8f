package config

import "github.com/tsubo-run/tsubo/job"

// maxEntries limits the number of entries in /output that are examined.
const maxEntries = 1000

// outputs holds the limits of a job's output, in bytes.
type outputs struct{ stdout, stderr, artifact, total int64 }

func (o *outputs) bind(r *reader) {
	r.bytes("max_stdout_bytes", &o.stdout, 1024, 104857600)
	r.bytes("max_stderr_bytes", &o.stderr, 1024, 104857600)
	r.bytes("max_artifact_bytes", &o.artifact, 1024, 1073741824)
	r.bytes("max_total_artifacts_bytes", &o.total, 1024, 10737418240)
}

// containerLimits holds the limits common to all job types. A zero size means unset.
type containerLimits struct {
	noFile, nProc job.Rlimit
	fSize         uint64
	pids          int
	tmp, output   int64
}

func (l *containerLimits) bind(r *reader) {
	in := r.section("container_limits")
	if in == nil {
		return
	}
	in.rlimit("nofile", &l.noFile, 64, 65536)
	in.rlimit("nproc", &l.nProc, 10, 1000)
	fSize := int64(l.fSize)
	in.bytes("fsize", &fSize, 1048576, 1073741824)
	l.fSize = uint64(fSize)
	in.bytes("tmpfs_size", &l.tmp, 10*job.MiB, 2<<30)
	in.bytes("output_size", &l.output, job.MiB, 10<<30)
	in.integer("pids_limit", &l.pids, 10, 1000)
	in.close()
}

func (r *reader) rlimit(name string, to *job.Rlimit, low, high int64) {
	r.unsigned(name+"_soft", &to.Soft, low, high)
	r.unsigned(name+"_hard", &to.Hard, low, high)
	if to.Hard < to.Soft {
		r.fail(name+"_hard", "%d is less than %s_soft (%d): set both", to.Hard, name, to.Soft)
	}
}

// of returns the limits of a job type. Unset sizes are fitted into the memory (ruling 17).
// Configured sizes that do not fit are reported under the type's name.
func (l containerLimits) of(t *reader, o outputs, memory int64, cpu float64) job.Limits {
	const least = job.MiB
	tmp, output := l.tmp, l.output
	if tmp > 0 && tmp+max(output, least) > memory || tmp == 0 && output > 0 && output+least > memory {
		t.fail("memory_limit",
			"%d bytes do not hold container_limits.tmpfs_size (%d) and output_size (%d), which are charged to it: "+
				"raise it, or lower them",
			memory, tmp, max(output, least))
		return job.Limits{}
	}
	if tmp == 0 {
		tmp = min(100*job.MiB, memory/2)
		if output > 0 {
			tmp = min(tmp, memory-output)
		}
	}
	if output == 0 {
		output = max(least, min(o.total+o.total/10, memory/2, memory-tmp))
	}
	return job.Limits{
		Memory: memory, CPU: cpu, PIDs: l.pids, NProc: l.nProc, NoFile: l.noFile, FSize: l.fSize, Tmp: tmp,
		Output:       output,
		SharedMemory: job.DefaultSharedMemory(memory),
		Stdout:       o.stdout, Stderr: o.stderr, Artifact: o.artifact, ArtifactsTotal: o.total, Artifacts: maxEntries,
	}
}
