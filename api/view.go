package api

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/tsubo-run/tsubo/job"
)

// safeTypes are the content types that an artifact may have by its name (ruling 8): none of them
// does anything in a browser that opens it.
var safeTypes = map[string]string{
	".txt": "text/plain", ".log": "text/plain", ".md": "text/plain", ".csv": "text/csv", ".json": "application/json",
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".pdf": "application/pdf",
}

func contentType(name string) string {
	if t, ok := safeTypes[strings.ToLower(path.Ext(name))]; ok {
		return t
	}
	return "application/octet-stream"
}

// output is what an answer has of result.json. Records that were stored before ruling 25 may hold
// what no strict parser reads.
func output(value json.RawMessage, fault string) (json.RawMessage, *string) {
	if len(value) > 0 {
		var more string
		if value, more = job.ParseOutput(slices.Clone(value)); fault == "" {
			fault = more
		}
	}
	return value, orNull(fault)
}

// record is a record as the view shows it.
func (s *Server) record(r *job.Record, view string) any {
	slim := job.RecordAnswer{
		ExecutionID: r.ID, Status: r.Status, JobType: r.JobType, JobVersion: r.JobRef,
		CreatedAt: job.StampOf(r.CreatedAt), StartedAt: job.StampOf(r.StartedAt), EndedAt: job.StampOf(r.EndedAt), DurationMS: r.DurationMS,
		ExitCode: r.ExitCode, Stdout: r.Stdout, Stderr: r.Stderr, Timing: r.Timing,
	}
	value, fault := output(r.Output, r.OutputError)
	slim.Output = value
	if r.Error != nil {
		e := *r.Error
		e.Message = job.Sanitize(e.Message)
		slim.Error = &e
	}
	switch {
	case r.Enforced != nil && r.Enforced.Runtime != "":
		slim.Runtime = &r.Enforced.Runtime
	case r.Status.Terminal():
		slim.Runtime = &s.opt.Runtime // it ended before anything was started
	}
	if view != "full" {
		return slim
	}
	full := job.FullAnswer{
		RecordAnswer: slim, JobRef: r.JobRef, Artifacts: manifest(r.Artifacts), InputArtifacts: manifest(r.InputArtifacts),
		ResourceUsage: r.Usage, CodeHash: orNull(r.CodeHash), InputHash: orNull(r.InputHash), ParentExecutionID: orNull(r.ParentID),
		Relationship: orNull(r.Relationship), StdoutTruncated: r.StdoutTruncated, StderrTruncated: r.StderrTruncated,
		IdempotencyKey: orNull(r.IdempotencyKey), Metadata: r.Metadata, Enforced: r.Enforced,
		ArtifactsSkipped: r.Skipped, ArtifactsNote: orNull(r.ArtifactsNote), OutputError: fault,
	}
	if full.Metadata == nil {
		full.Metadata = map[string]string{}
	}
	if full.ArtifactsSkipped == nil {
		full.ArtifactsSkipped = []job.Skipped{}
	}
	return full
}

func manifest(refs []job.ArtifactRef) []job.FileAnswer {
	all := make([]job.FileAnswer, len(refs))
	for i, f := range refs {
		kind := kindOf(f)
		all[i] = job.FileAnswer{Name: f.Name, SizeBytes: f.Size, SHA256: f.SHA256, ContentType: &kind}
	}
	return all
}

func kindOf(f job.ArtifactRef) string {
	if f.ContentType != "" {
		return f.ContentType
	}
	return contentType(f.Name)
}

func orNull[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}
