package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

const (
	defaultType = "default"
	// Bounds of the schema; the configured ceilings are checked after it, with sentences of their own (wire.md 1.1).
	schemaMaxTimeout = 86400
	schemaMinStartup = 10
	schemaMaxStartup = 600
)

var (
	jobTypeRE     = regexp.MustCompile(`^[a-zA-Z0-9_-]+(@[a-zA-Z0-9_.@:-]+)?$`)
	idempotencyRE = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
)

// executeRequest is the body of POST /execute after the schema's rules.
type executeRequest struct {
	code            string
	input           json.RawMessage
	timeout         *int64 // seconds
	startupTimeout  *int64
	jobType         *string
	requirements    []string
	inlineArtifacts bool
}

// decodeExecute reads a body by the schema. When it returns false it has answered.
func (s *Server) decodeExecute(c *call) (*executeRequest, bool) {
	o, ok := c.object()
	if !ok {
		return nil, false
	}
	p := s.opt.Policy
	r := &executeRequest{input: json.RawMessage("{}")}
	if code := o.String("code", strictjson.StringRule{Required: true, Min: 1, MaxBytes: int(p.MaxCodeBytes), Check: notBlank}); code != nil {
		r.code = *code
	}
	if v := o.JSONObject("input_data"); v.Present() {
		r.input = v.Raw()
		if n := int64(len(r.input)); n > p.MaxInputBytes {
			o.ReportValue(fmt.Sprintf("input_data must be at most %d bytes of JSON, not %d", p.MaxInputBytes, n), v, "input_data")
		}
	}
	r.timeout = o.Int("timeout", 1, schemaMaxTimeout)
	r.startupTimeout = o.Int("startup_timeout", schemaMinStartup, schemaMaxStartup)
	r.jobType = o.String("job_type", strictjson.StringRule{Max: 128, Pattern: jobTypeRE})
	o.String("idempotency_key", strictjson.StringRule{Min: 8, Max: 255, Pattern: idempotencyRE}) // a sync run has no use for it
	r.requirements = o.Strings("requirements", job.MaxRequirements, strictjson.StringRule{Check: job.CheckRequirement})
	r.inlineArtifacts = o.OneOf("artifacts", job.ArtifactsInline) != ""
	if problems := o.Done(); problems != nil {
		c.invalid(problems)
		return nil, false
	}
	return r, true
}

// object parses the body as a JSON object. When it returns false it has answered.
func (c *call) object() (*strictjson.Object, bool) {
	if t := c.Header.Get("Content-Type"); t != "" && len(c.body) > 0 {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || !isJSON(media) {
			c.invalid([]strictjson.Problem{{
				Type: "model_attributes_type", Loc: []any{"body"}, Input: json.RawMessage("null"),
				Msg: "Input should be a valid dictionary or object to extract fields from (Content-Type must be application/json)",
			}})
			return nil, false
		}
	}
	o, problems := strictjson.Body(c.body, "body")
	if problems != nil {
		c.invalid(problems)
		return nil, false
	}
	return o, true
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// notBlank refuses what Python's str.strip leaves nothing of.
func notBlank(code string) error {
	if strings.Trim(strings.TrimSpace(code), "\x1c\x1d\x1e\x1f \t\n\r\v\f") == "" {
		return errors.New("code must not be empty or whitespace")
	}
	return nil
}

// limits works out a job's type and times, in the contract's order: what the caller wrote is checked before anything is looked up.
// When it returns false it has answered.
func (s *Server) limits(c *call, r *executeRequest) (t job.Type, timeout, startup time.Duration, ok bool) {
	p := s.opt.Policy
	over := func(what, ceiling string, most time.Duration) {
		c.refuse(http.StatusUnprocessableEntity,
			fmt.Sprintf("%s must be less than or equal to the configured %s (%d seconds)", what, ceiling, int64(most/time.Second)))
	}
	if r.timeout != nil && time.Duration(*r.timeout)*time.Second > p.MaxTimeout {
		over("timeout", "max_timeout", p.MaxTimeout)
		return
	}
	if r.startupTimeout != nil && time.Duration(*r.startupTimeout)*time.Second > p.MaxStartupTimeout {
		over("startup_timeout", "max_startup_timeout", p.MaxStartupTimeout)
		return
	}
	name := defaultType
	if r.jobType != nil {
		name, _, _ = strings.Cut(*r.jobType, "@")
	}
	t, known := p.Types[name]
	if !known {
		c.refuse(http.StatusNotFound, fmt.Sprintf("Job type '%s' not found", name))
		return
	}
	timeout, startup = t.Timeout, t.StartupTimeout
	if r.jobType == nil {
		timeout, startup = p.DefaultTimeout, p.DefaultStartupTimeout
	}
	if r.timeout != nil {
		timeout = time.Duration(*r.timeout) * time.Second
	}
	if r.startupTimeout != nil {
		startup = time.Duration(*r.startupTimeout) * time.Second
	}
	if timeout > p.MaxTimeout {
		over("effective timeout", "max_timeout", p.MaxTimeout)
		return
	}
	return t, timeout, startup, true
}

// execute is POST /execute.
func (s *Server) execute(c *call) {
	r, ok := s.decodeExecute(c)
	if !ok {
		return
	}
	t, timeout, startup, ok := s.limits(c, r)
	if !ok {
		return
	}
	ref := t.Name
	if r.jobType != nil {
		ref = *r.jobType
	}
	spec := &job.Spec{
		ID: "api-" + uuid.NewString(), Caller: c.caller.Name, Type: t.Name, TypeRef: ref + "@latest",
		Image: t.Image, Language: t.Language, Command: t.Command, Environment: t.Environment,
		Code: r.code, Input: r.input, Timeout: timeout, StartupTimeout: startup, Limits: t.Limits,
	}
	if len(r.requirements) > 0 || (len(t.Requirements) > 0 && t.Image == "") {
		refused := job.FailedResult(job.ErrRuntime, job.PhaseStartup, job.RequirementsDisabled)
		refused.Stderr = job.RequirementsDisabled
		refused.Enforced.Runtime = s.opt.Runtime
		c.json(http.StatusOK, executeAnswer(spec, refused, r.inlineArtifacts))
		return
	}
	result, err := s.opt.Executor.Execute(c.Context(), spec, nil)
	if err != nil {
		s.failed(c, "Execution error", err)
		return
	}
	if result.Enforced.Runtime == "" { // it ended before anything was started
		result.Enforced.Runtime = s.opt.Runtime
	}
	c.json(http.StatusOK, executeAnswer(spec, result, r.inlineArtifacts))
}

// executeAnswer is the body of POST /execute for a result.
func executeAnswer(spec *job.Spec, r *job.Result, inline bool) job.ExecuteAnswer {
	a := job.ExecuteAnswer{
		Success: r.Status == job.Succeeded, Stdout: r.Stdout, Stderr: r.Stderr, ExitCode: r.ExitCode,
		JobType: &spec.Type, ExecutionID: &spec.ID, Runtime: &r.Enforced.Runtime,
		Enforced: r.Enforced, Status: r.Status, StdoutTruncated: r.StdoutTruncated, StderrTruncated: r.StderrTruncated,
		Timing: r.Timing, ResourceUsage: r.Usage, Artifacts: make([]job.ArtifactAnswer, 0, len(r.Artifacts)), ArtifactsSkipped: r.Skipped,
	}
	if json.Valid(r.Output) {
		a.Output = r.Output
	}
	for _, ms := range []*int64{r.Timing.StartupMS, r.Timing.ExecutionMS} {
		if ms != nil {
			a.ExecutionTime += float64(*ms) / 1000
		}
	}
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
		entry := job.ArtifactAnswer{Name: f.Name, SizeBytes: f.Size, SHA256: f.SHA256}
		if inline {
			entry.Data = f.Data
			if entry.Data == nil {
				entry.Data = []byte{} // an empty file is "", not null
			}
		}
		a.Artifacts = append(a.Artifacts, entry)
	}
	return a
}
