package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

const jobNotFound = "Job not found"

// found is what there is of a job that the caller may see: a record, a live state, or both.
type found struct {
	record *job.Record
	live   *job.Live
}

// look finds a job that the caller may see. Another's job looks exactly like none (ruling 16). When
// it returns false it has answered: 404 with this detail.
func (s *Server) look(c *call, id, detail string) (found, bool) {
	f, err := s.lookup(c, id)
	switch {
	case err != nil:
		s.failed(c, "Lookup error", err)
	case f.record == nil && f.live == nil:
		c.refuse(http.StatusNotFound, detail)
	default:
		c.foreign = f.owner() != c.caller.Name
		return f, true
	}
	return found{}, false
}

// owner is the caller whose job it is.
func (f found) owner() string {
	if f.record != nil {
		return f.record.Caller
	}
	return f.live.Caller
}

func (s *Server) lookup(c *call, id string) (found, error) {
	var f found
	if job.CheckID(id) != nil {
		return f, nil // no job has such an id
	}
	// The live state first: a job that ends in between is in the store by then.
	if live, ok := s.opt.Jobs.Live(id); ok && c.owns(live.Caller) {
		f.live = &live
	}
	record, err := s.opt.Store.Get(c.Context(), id)
	switch {
	case errors.Is(err, job.ErrNotFound):
		if f.live != nil {
			f.record = s.running(id)
		}
		return f, nil
	case err != nil:
		return f, fmt.Errorf("get record: %w", err)
	case !c.owns(record.Caller):
		return found{}, nil
	}
	f.record = record
	if record.Status.Terminal() {
		f.live = nil
	}
	return f, nil
}

// running is the record of a synchronous run that runs now, or nil.
func (s *Server) running(id string) *job.Record {
	for _, r := range s.opt.Jobs.Running() {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// owns reports whether the caller may see what belongs to owner.
func (c *call) owns(owner string) bool { return c.caller.Admin || c.caller.Name == owner }

// jobStatus is GET /jobs/{job_id} (wire.md 1.3).
func (s *Server) jobStatus(c *call) {
	id := c.params[0]
	f, ok := s.look(c, id, jobNotFound)
	if !ok {
		return
	}
	a := job.StatusAnswer{JobID: id}
	if f.record != nil {
		a.Status, a.CreatedAt, a.DurationMS = f.record.Status, job.StampOf(f.record.CreatedAt), f.record.DurationMS
	}
	if f.live != nil {
		a.Status, a.DurationMS, a.QueuePosition = f.live.Status, nil, position(f.live)
	}
	c.json(http.StatusOK, a)
}

func position(l *job.Live) *int {
	if l.Status != job.Pending {
		return nil
	}
	return &l.Position
}

// jobResult is GET /jobs/{job_id}/result (wire.md 1.4).
func (s *Server) jobResult(c *call) {
	id := c.params[0]
	q := c.query()
	wait, patience, view := q.boolean("wait"), q.number("timeout", 30, 1, 300), q.text("view")
	if !q.done(c) {
		return
	}
	f, ok := s.look(c, id, jobNotFound)
	if !ok {
		return
	}
	if wait && f.live != nil {
		if f, ok = s.await(c, id, time.Duration(patience*float64(time.Second))); !ok {
			return
		}
	}
	if f.record != nil {
		c.json(http.StatusOK, s.record(f.record, view))
		return
	}
	c.json(http.StatusOK, job.ProgressAnswer{
		JobID: id, Status: f.live.Status, Message: "Job still in progress", QueuePosition: position(f.live),
	})
}

// await waits until a job has ended, for the caller and no longer than patience; the job does not
// feel it. When it returns false it has answered.
func (s *Server) await(c *call, id string, patience time.Duration) (found, bool) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	err := s.opt.Jobs.Wait(ctx, id)
	switch {
	case err == nil:
		return s.look(c, id, jobNotFound)
	case c.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the caller is gone
	case ctx.Err() != nil:
		c.refuse(http.StatusRequestTimeout, "Timeout waiting for job")
	default:
		s.failed(c, "Wait error", err)
	}
	return found{}, false
}

// cancel is POST /jobs/{job_id}/cancel (wire.md 1.5, ruling 1).
func (s *Server) cancel(c *call) {
	const over = "Job not found or already completed"
	id := c.params[0]
	f, ok := s.look(c, id, over)
	if !ok {
		return
	}
	if f.record != nil && f.record.Status.Terminal() {
		c.refuse(http.StatusNotFound, over)
		return
	}
	was, err := s.opt.Jobs.Cancel(c.Context(), id)
	switch {
	case err != nil:
		s.failed(c, "Cancel error", err)
	case !was:
		c.refuse(http.StatusNotFound, over)
	default:
		c.json(http.StatusOK, job.CancelAnswer{Status: job.Cancelled, JobID: id})
	}
}
