package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

const executionNotFound = "Execution not found"

// Bounds of a page.
const (
	pageSize  = 100
	pageMost  = 1000
	maxOffset = math.MaxInt32
)

// listExecutions is GET /executions (wire.md 1.9): the caller's own, newest first; an admin's list
// holds everybody's.
func (s *Server) listExecutions(c *call) {
	q := c.query()
	f := job.Filter{
		Status: q.text("status"), JobType: q.text("job_type"), Metadata: q.labels(),
		Limit: q.integer("limit", pageSize, 1, pageMost), Offset: q.integer("offset", 0, 0, maxOffset),
	}
	view := q.text("view")
	if !q.done(c) {
		return
	}
	if !c.caller.Admin {
		f.Caller = c.caller.Name
	}
	p := page{c: c}
	m := merge{running: s.matching(f), skip: f.Offset, limit: f.Limit, add: func(r *job.Record) error { return p.add(s.record(r, view)) }}
	stored := f
	stored.Offset = max(0, f.Offset-len(m.running)) // the page may begin with as many more of the store's
	m.skip -= stored.Offset
	stored.Limit += m.skip
	more, err := s.opt.Store.Each(c.Context(), stored, m.stored)
	if err == nil && !more {
		err = m.rest()
	}
	switch {
	case err == nil:
		p.end(f, more || m.seen > m.skip+m.limit)
	case c.w.begun:
		s.log.Error("list executions", "correlation_id", c.correlation, "error", err)
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	default:
		s.failed(c, "List error", err)
	}
}

// matching are the synchronous runs that run now and that the filter selects, newest first.
func (s *Server) matching(f job.Filter) []*job.Record {
	all := slices.DeleteFunc(s.opt.Jobs.Running(), func(r *job.Record) bool {
		for name, value := range f.Metadata {
			if v, ok := r.Metadata[name]; !ok || v != value {
				return true
			}
		}
		return f.Caller != "" && f.Caller != r.Caller || f.Status != "" && f.Status != string(r.Status) || f.JobType != "" && f.JobType != r.JobType
	})
	slices.SortFunc(all, func(a, b *job.Record) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all
}

// merge puts runs that run now between the records of the store, newest first, and adds those of
// one page.
type merge struct {
	running           []*job.Record
	skip, limit, seen int
	gone              map[string]bool // ids of running that were seen
	add               func(*job.Record) error
}

// stored takes the next record of the store. A run that has ended meanwhile is there, too, and
// counts once.
func (m *merge) stored(r *job.Record) error {
	for len(m.running) > 0 && !m.running[0].CreatedAt.Before(r.CreatedAt) {
		if err := m.next(); err != nil {
			return err
		}
	}
	if m.gone[r.ID] {
		return nil
	}
	return m.one(r)
}

func (m *merge) next() error {
	r := m.running[0]
	m.running = m.running[1:]
	if m.gone == nil {
		m.gone = map[string]bool{}
	}
	m.gone[r.ID] = true
	return m.one(r)
}

func (m *merge) one(r *job.Record) error {
	if m.seen++; m.seen <= m.skip || m.seen > m.skip+m.limit {
		return nil
	}
	return m.add(r)
}

// rest takes the runs that are older than everything in the store.
func (m *merge) rest() error {
	for len(m.running) > 0 {
		if err := m.next(); err != nil {
			return err
		}
	}
	return nil
}

// page writes a listing item by item: a page of records may hold much text, and only a little of it
// is in memory at a time.
type page struct {
	c     *call
	held  bytes.Buffer
	count int
}

// pageHeld is how many bytes are held before the answer begins; a page that fits is sent whole.
const pageHeld = 256 << 10

func (p *page) add(item any) error {
	p.held.WriteString(`,`)
	if p.count == 0 {
		p.held.Reset()
		p.held.WriteString(`{"items":[`)
	}
	p.count++
	e := json.NewEncoder(&p.held)
	e.SetEscapeHTML(false)
	if err := e.Encode(item); err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	p.held.Truncate(p.held.Len() - 1) // the line break
	if p.held.Len() < pageHeld {
		return nil
	}
	if !p.c.w.begun {
		p.c.w.Header().Set("Content-Type", "application/json")
	}
	_ = p.c.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails where there is no connection
	_, err := p.held.WriteTo(p.c.w)
	return err
}

func (p *page) end(f job.Filter, more bool) {
	if p.count == 0 {
		p.held.WriteString(`{"items":[`)
	}
	fmt.Fprintf(&p.held, `],"limit":%d,"offset":%d,"has_more":%t,"count":%d}`+"\n", f.Limit, f.Offset, more, p.count)
	if !p.c.w.begun {
		p.c.send(http.StatusOK, "application/json", p.held.Bytes())
		return
	}
	_ = p.c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _ = p.held.WriteTo(p.c.w) // a caller who is gone needs no answer
}

// execution is GET /executions/{execution_id}.
func (s *Server) execution(c *call) {
	q := c.query()
	view := q.text("view")
	if !q.done(c) {
		return
	}
	f, ok := s.look(c, c.params[0], executionNotFound)
	if !ok {
		return
	}
	if f.record == nil { // a synchronous run has no record before its turn comes
		c.refuse(http.StatusNotFound, executionNotFound)
		return
	}
	c.json(http.StatusOK, s.record(f.record, view))
}

// deleteExecution is DELETE /executions/{execution_id} (ruling 20): the record, its artifacts and
// its replay data.
func (s *Server) deleteExecution(c *call) {
	const running = "Cannot delete an execution that hasn't completed"
	f, ok := s.look(c, c.params[0], executionNotFound)
	if !ok {
		return
	}
	if f.record == nil || !f.record.Status.Terminal() {
		c.refuse(http.StatusConflict, running)
		return
	}
	switch err := s.opt.Store.Delete(c.Context(), f.record.ID); {
	case errors.Is(err, job.ErrNotFound):
		c.refuse(http.StatusNotFound, executionNotFound)
	case errors.Is(err, job.ErrNotTerminal):
		c.refuse(http.StatusConflict, running)
	case err != nil:
		s.failed(c, "Delete error", err)
	default:
		c.w.WriteHeader(http.StatusNoContent)
	}
}
