package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tsubo-run/tsubo/job"
)

// execute is POST /execute: a run whose caller waits for it, and may watch it (wire.md 1.1).
func (s *Server) execute(c *call) {
	a, ok := c.decodeExecute(false)
	if !ok {
		return
	}
	sub, err := c.submission("api-"+uuid.NewString(), a.request)
	if err != nil {
		s.failed(c, "Execution error", err)
		return
	}
	sub.Record.Metadata = a.metadata
	if c.wantsEvents() {
		s.executeStream(c, sub, a)
		return
	}
	record, result, err := s.opt.Jobs.Execute(c.Context(), sub, a.keep, nil)
	if err != nil {
		s.failed(c, "Execution error", err)
		return
	}
	answer := s.executeAnswer(sub.Spec, record, result)
	if !a.inline {
		c.json(http.StatusOK, answer)
		return
	}
	in, err := s.inline(c, answer, result.Artifacts)
	result = nil //nolint:wastedassign // the artifacts' memory is free from here on
	if err != nil {
		s.notInlined(c, err)
		return
	}
	defer in.close()
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.FormatInt(in.size(), 10))
	c.w.WriteHeader(http.StatusOK)
	if _, err := in.WriteTo(patient{c}); err != nil {
		panic(http.ErrAbortHandler) // the caller is gone, or the disk failed: half an answer must not look like a whole one
	}
}

// notInlined answers when artifacts could not be put into an answer.
func (s *Server) notInlined(c *call, err error) {
	if errors.Is(err, errFull) {
		c.full()
		return
	}
	s.failed(c, "Execution error", err)
}

// submit is POST /execute/async (wire.md 1.2).
func (s *Server) submit(c *call) {
	a, ok := c.decodeExecute(true)
	if !ok {
		return
	}
	sub, err := c.submission(uuid.NewString(), a.request)
	if err != nil {
		s.failed(c, "Submit error", err)
		return
	}
	sub.Record.Async = true
	sub.Record.Metadata = a.metadata
	if a.key != "" {
		sub.Record.IdempotencyKey, sub.Record.Fingerprint = a.key, fingerprint(a.request, a.metadata)
	}
	s.enqueue(c, sub)
}

// enqueue submits a job to the queue and answers.
func (s *Server) enqueue(c *call, sub job.Submission) {
	record, existed, err := s.opt.Jobs.Submit(c.Context(), sub)
	switch {
	case errors.Is(err, job.ErrFingerprint):
		c.refuse(http.StatusConflict, "Idempotency key reused with different payload")
	case err != nil:
		s.failed(c, "Submit error", err)
	case existed:
		c.json(http.StatusOK, job.SubmitAnswer{JobID: record.ID, Status: record.Status})
	default:
		c.json(http.StatusOK, job.SubmitAnswer{JobID: record.ID, Status: job.Queued})
	}
}

// maxCorrelation bounds what a record keeps of a correlation id; the answer's header has all of it.
const maxCorrelation = 256

// submission makes the job of a request and the record of it. The error is a *job.Refusal.
func (c *call) submission(id string, r *job.Request) (job.Submission, error) {
	spec, err := c.policy.Spec(r, id, c.caller.Name)
	if err != nil {
		return job.Submission{}, err
	}
	code := hash([]byte(r.Code))
	record := &job.Record{
		ID: id, Caller: c.caller.Name, Status: job.Queued, JobType: spec.Type, JobRef: spec.TypeRef,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond),
		CodeHash:  code, InputHash: hash(canonical(r.Input)),
		InputArtifacts: []job.ArtifactRef{
			{Name: "_code.py", Size: int64(len(r.Code)), SHA256: code, ContentType: "text/x-python"},
			{Name: "_input.json", Size: int64(len(r.Input)), SHA256: hash(r.Input), ContentType: "application/json"},
		},
		CorrelationID: c.shortCorrelation(),
	}
	if _, unix := c.Context().Value(peerKey{}).(uint32); !unix {
		record.ClientIP = c.ip()
	}
	return job.Submission{Record: record, Request: r, Spec: spec}, nil
}

// executeAnswer is the body of POST /execute for a result, without the bytes of artifacts.
func (s *Server) executeAnswer(spec *job.Spec, record *job.Record, r *job.Result) job.ExecuteAnswer {
	if r.Enforced.Runtime == "" { // it ended before anything was started
		r.Enforced.Runtime = s.opt.Runtime
	}
	a := job.ExecuteAnswer{
		Success: r.Status == job.Succeeded, Stdout: r.Stdout, Stderr: r.Stderr, ExitCode: r.ExitCode,
		JobType: &spec.Type, ExecutionID: &spec.ID, Runtime: &r.Enforced.Runtime,
		Enforced: r.Enforced, Status: r.Status, StdoutTruncated: r.StdoutTruncated, StderrTruncated: r.StderrTruncated,
		Timing: r.Timing, ResourceUsage: r.Usage, Artifacts: make([]job.ArtifactAnswer, 0, len(r.Artifacts)), ArtifactsSkipped: r.Skipped,
	}
	if record != nil {
		a.ExecutionID = &record.ID
	}
	a.Output, a.OutputError = output(r.Output, r.OutputError)
	total := int64(0)
	for _, ms := range []*int64{r.Timing.StartupMS, r.Timing.ExecutionMS} {
		if ms != nil {
			total += *ms
		}
	}
	a.ExecutionTime = job.Seconds(total)
	if r.Error != nil {
		message := job.Sanitize(r.Error.Message)
		a.Error, a.ErrorType = &message, &r.Error.Type
	}
	if a.ArtifactsSkipped == nil {
		a.ArtifactsSkipped = []job.Skipped{}
	}
	if r.ArtifactsNote != "" {
		a.ArtifactsNote = &r.ArtifactsNote
	}
	for _, f := range r.Artifacts {
		kind := contentType(f.Name)
		a.Artifacts = append(a.Artifacts, job.ArtifactAnswer{Name: f.Name, SizeBytes: f.Size, SHA256: f.SHA256, ContentType: &kind})
	}
	return a
}
