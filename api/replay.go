package api

import (
	"errors"
	"net/http"

	"github.com/google/uuid"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// replay is the body of rerun and fork.
type replay struct {
	code    *string // fork only
	jobType *string
	timeout *int64
}

// rerun is POST /jobs/{job_id}/rerun (wire.md 1.6, ruling 3).
func (s *Server) rerun(c *call) {
	o, ok := c.object()
	if !ok {
		return
	}
	s.replay(c, o, replay{}, job.Rerun)
}

// fork is POST /jobs/{job_id}/fork (wire.md 1.7, ruling 3).
func (s *Server) fork(c *call) {
	o, ok := c.object()
	if !ok {
		return
	}
	s.replay(c, o, replay{code: o.String("code", codeRule(c.policy))}, job.Fork)
}

// replay runs a job that has ended again, with what the body replaces.
func (s *Server) replay(c *call, o *strictjson.Object, r replay, relation job.Relationship) {
	r.jobType, r.timeout = o.String("job_type", jobTypeRule), o.Int("timeout", 1, schemaMaxTimeout)
	if !c.done(o) {
		return
	}
	if err := c.policy.CheckTimeout(r.timeout); err != nil { // before the parent is looked up
		s.failed(c, "Submit error", err)
		return
	}
	parent, ok := s.look(c, c.params[0], jobNotFound)
	if !ok {
		return
	}
	if parent.record == nil || !parent.record.Status.Terminal() {
		c.refuse(http.StatusBadRequest, "Cannot "+string(relation)+" job that hasn't completed")
		return
	}
	stored, err := s.opt.Store.Request(c.Context(), parent.record.ID)
	switch {
	case errors.Is(err, job.ErrNotFound):
		c.refuse(http.StatusBadRequest, "Original code not available for replay")
		return
	case err != nil:
		s.log.Error("read the request of a job", "id", parent.record.ID, "error", err)
		c.refuse(http.StatusBadRequest, "Failed to retrieve replay data")
		return
	}
	sub, err := c.submission(uuid.NewString(), r.over(stored, parent.record))
	if err != nil {
		s.failed(c, "Submit error", err)
		return
	}
	sub.Record.Async = true
	sub.Record.ParentID, sub.Record.Relationship = parent.record.ID, relation
	sub.Record.Metadata = parent.record.Metadata
	s.enqueue(c, sub)
}

// over is the parent's request with what the body replaces. The job type is the parent's resolved
// one, unless the parent named none: then the child names none, and has the same times.
func (r replay) over(stored *job.Request, parent *job.Record) *job.Request {
	again := *stored
	if again.JobType != "" {
		again.JobType = parent.JobType
	}
	if r.jobType != nil {
		again.JobType = *r.jobType
	}
	if r.timeout != nil {
		again.Timeout = r.timeout
	}
	if r.code != nil {
		again.Code = *r.code
	}
	return &again
}
