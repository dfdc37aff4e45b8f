package sandbox

import (
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
)

// stderrTail is how many of stderr's last bytes the classification reads. The message of an
// exception may be long, and the exception's class precedes the message.
const stderrTail = 64 << 10

// resultFile is the artifact whose JSON becomes the result's Output (wire.md section 3).
const resultFile = "result.json"

func (r *run) result() *job.Result {
	end := time.Now()
	if r.died.IsZero() {
		r.died = end
	}
	cause := r.settleCause()
	if r.done != nil {
		// Totals may exceed what was forwarded. A smaller claim is ignored.
		r.stdout.total = max(r.stdout.total, r.done.StdoutTotal)
		r.stderr.total = max(r.stderr.total, r.done.StderrTotal)
	}
	res := &job.Result{StartedAt: r.turn, EndedAt: end}
	res.Stdout, res.StdoutTruncated = job.Text(r.stdout.data, r.stdout.total, r.spec.Limits.Stdout)
	res.Stderr, res.StderrTruncated = job.Text(r.stderr.data, r.stderr.total, r.spec.Limits.Stderr)

	facts := job.Facts{
		Cause: cause, Phase: job.PhaseExecution, Unknown: r.exit == nil,
		Stderr:  r.endOfStderr(),
		Timeout: r.spec.Timeout, StartupTimeout: r.spec.StartupTimeout,
	}
	if r.exit != nil {
		facts.ExitCode, facts.Signal = int(r.exit.Code), syscall.Signal(r.exit.Signal)
		facts.MemoryReached = cause == job.OwnEnd && *r.exit != (frames.Exit{}) && r.memoryReached()
	}
	verdict := job.Classify(facts)
	res.Status, res.ExitCode, res.Error = verdict.Status, verdict.ExitCode, verdict.Error
	if facts.Unknown && cause == job.OwnEnd {
		r.s.host.Log.Error("sandbox ended before its job's exit was reported",
			"job", r.spec.ID, "sandbox", r.s.id, "error", r.err)
	}
	r.fillArtifacts(res, cause)
	res.Timing = r.timing(res.Status, end)
	res.Usage = r.usage(end)
	res.Enforced = r.s.Enforced()
	return res
}

// endOfStderr returns the last bytes of the job's stderr. The line of an exception is there,
// however much the job wrote before.
func (r *run) endOfStderr() []byte {
	if r.done != nil && r.done.StderrTail != "" {
		return []byte(r.done.StderrTail)
	}
	return r.stderr.data[max(0, len(r.stderr.data)-stderrTail):]
}

// settleCause returns why the job ended: the cause that end has recorded, or else what the leaf's
// files report.
func (r *run) settleCause() job.Cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != job.OwnEnd || r.s.leaf == nil {
		return r.cause
	}
	events, err := r.s.leaf.Events()
	if err != nil {
		r.s.host.Log.Error("read the leaf's events", "sandbox", r.s.id, "error", err)
		return job.OwnEnd
	}
	switch {
	case events.OOMKill > 0:
		r.cause = job.OutOfMemory
	case events.PIDsMax > 0 && r.exit == nil:
		r.cause = job.OutOfPIDs
	}
	return r.cause
}

// memoryReached reports whether the job reached its memory limit, by the leaf's own counters.
func (r *run) memoryReached() bool {
	if r.s.leaf == nil {
		return false
	}
	reached, err := r.s.leaf.MemoryReached()
	if err != nil {
		r.s.host.Log.Error("read the leaf's events", "sandbox", r.s.id, "error", err)
	}
	return reached
}

func (r *run) fillArtifacts(res *job.Result, cause job.Cause) {
	c := &r.collect
	res.Artifacts, res.Skipped = c.artifacts, c.skipped
	switch {
	case cause == job.OutOfMemory:
		res.Artifacts, res.Skipped = nil, nil
		res.ArtifactsNote = "lost: /output was in the memory that ran out"
	case r.exit == nil:
		res.ArtifactsNote = "lost: the sandbox was killed before /output could be read"
	case r.exit.Survivors:
		res.ArtifactsNote = "lost: a process that the program left behind could not be ended in time, and may " +
			"have changed /output"
	case r.done == nil:
		res.ArtifactsNote = "incomplete: the collection took too long or broke off"
	case r.done.More:
		res.ArtifactsNote = "incomplete: /output holds more entries than are looked at"
	case r.done.Note != "":
		res.ArtifactsNote = "incomplete: " + job.Sanitize(r.done.Note)
	}
	for _, a := range res.Artifacts {
		if a.Name == resultFile {
			res.Output, res.OutputError = job.ParseOutput(a.Data)
		}
	}
}

func (r *run) timing(status job.Status, end time.Time) job.Timing {
	ms := func(d time.Duration) *int64 { n := d.Milliseconds(); return &n }
	phase := job.PhaseCompleted
	if status != job.Succeeded {
		phase = job.PhaseExecution
	}
	return job.Timing{
		StartupMS:   ms(r.started.Sub(r.turn)),
		ExecutionMS: ms(r.died.Sub(r.started)),
		TotalMS:     ms(end.Sub(r.turn)),
		PhaseAtExit: &phase,
	}
}

func (r *run) usage(end time.Time) job.Usage {
	wall := end.Sub(r.turn).Milliseconds()
	u := job.Usage{WallTimeMS: &wall}
	if r.s.leaf == nil {
		return u
	}
	used, err := r.s.leaf.Usage()
	if err != nil {
		r.s.host.Log.Warn("read the leaf's usage", "sandbox", r.s.id, "error", err)
		return u
	}
	cpu := used.CPU.Milliseconds()
	u.CPUTimeMS = &cpu
	if used.Peak > 0 {
		mb := job.Decimal(float64(used.Peak) / job.MiB)
		u.MaxRSSMB = &mb
	}
	return u
}

// Enforced returns the limits and layers that are in force in this sandbox.
func (s *Sandbox) Enforced() job.Enforced {
	e := job.Enforced{
		Runtime:      "runsc",
		Rootfs:       s.shape.Root.Kind,
		ReadOnlyRoot: true,
		Seccomp:      s.host.Seccomp != nil,
		Network:      "none",
	}
	if s.leaf != nil {
		s.leaf.Enforced(&e)
	}
	return e
}
