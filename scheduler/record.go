package scheduler

import (
	"encoding/json"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// complete returns a copy of e.record with the outcome r filled in.
func (s *Scheduler) complete(e *entry, r *job.Result) *job.Record {
	rec := *e.record
	rec.Status, rec.ExitCode, rec.Error = r.Status, r.ExitCode, r.Error
	rec.Attempt, rec.MaxTries = e.attempt, s.opt.MaxTries
	if !e.first.IsZero() {
		rec.DequeuedAt, rec.WorkerID = e.first.UTC(), s.opt.Holder
	}
	rec.StartedAt = utc(r.StartedAt)
	from, to := r.StartedAt, r.EndedAt
	if from.IsZero() {
		from = e.first
	}
	if to.IsZero() {
		to = time.Now()
	}
	rec.EndedAt = utc(to)
	if from.IsZero() {
		from = rec.DequeuedAt
	}
	if !from.IsZero() {
		ms := max(0, to.Sub(from).Milliseconds())
		rec.DurationMS = &ms
	}
	rec.Stdout, rec.StdoutTruncated = r.Stdout, r.StdoutTruncated
	rec.Stderr, rec.StderrTruncated = r.Stderr, r.StderrTruncated
	rec.Output, rec.OutputError, rec.Skipped, rec.ArtifactsNote = r.Output, r.OutputError, r.Skipped, r.ArtifactsNote
	if r.Timing != (job.Timing{}) {
		timing := r.Timing
		rec.Timing = &timing
	}
	if r.Usage != (job.Usage{}) {
		usage := r.Usage
		rec.Usage = &usage
	}
	enforced := r.Enforced
	if enforced.Runtime == "" { // the job ended before anything was started
		enforced.Runtime = s.opt.Runtime
	}
	rec.Enforced = &enforced
	rec.Artifacts = make([]job.ArtifactRef, 0, len(r.Artifacts))
	for _, a := range r.Artifacts {
		rec.Artifacts = append(rec.Artifacts, job.ArtifactRef{Name: a.Name, Size: a.Size, SHA256: a.SHA256})
	}
	return &rec
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// deadLetter returns the dead letter queue's entry for a job that failed unexpectedly inside tsubo
// (wire.md 2.6). It identifies the job without any of the job's data.
func (s *Scheduler) deadLetter(e *entry, kind job.ErrorType, message string) *job.DeadLetter {
	rec, req := e.record, e.request
	if rec == nil {
		rec = &job.Record{ID: e.id, Caller: e.caller, JobType: e.kind}
	}
	summary := map[string]any{
		"job_type": rec.JobType, "code_hash": rec.CodeHash, "input_hash": rec.InputHash,
		"has_idempotency_key": rec.IdempotencyKey != "",
	}
	if req != nil {
		summary["code_size_bytes"], summary["input_size_bytes"] = len(req.Code), len(req.Input)
		if req.Timeout != nil {
			summary["timeout"] = *req.Timeout
		}
		if req.StartupTimeout != nil {
			summary["startup_timeout"] = *req.StartupTimeout
		}
		if len(req.Requirements) > 0 {
			summary["requirements"] = req.Requirements
		}
	}
	if rec.CorrelationID != "" {
		summary["correlation_id"] = rec.CorrelationID
	}
	if rec.ParentID != "" {
		summary["parent_execution_id"] = rec.ParentID
	}
	data, err := json.Marshal(summary)
	if err != nil { // does not happen with strings and numbers
		data = []byte("{}")
	}
	return &job.DeadLetter{
		JobID: e.id, Caller: e.caller, Summary: data, ErrorType: string(kind), ErrorMessage: job.Sanitize(message),
		RetryCount: max(0, e.tries-1), CreatedAt: time.Now().UTC(), ClientIP: rec.ClientIP,
		CorrelationID: rec.CorrelationID,
	}
}
