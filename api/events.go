package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// followAhead is how many events of a stream are held for a caller beside what the connection
// holds; a text has 16 KiB at most.
const followAhead = 8

// heartbeat is the interval of comments on a silent stream.
const heartbeat = 15 * time.Second

// eventError is the last event of a stream that cannot report the result. It has no id: a reader
// that comes back goes on after the last event that it has.
const eventError = "error"

type (
	jobData struct { // of queued and started
		ExecutionID string `json:"execution_id"`
	}
	textData struct { // of stdout and stderr
		Text string `json:"text"`
	}
	gapData struct {
		Detail string `json:"detail"`
	}
)

// wantsEvents reports whether the caller asks for a stream.
func (c *call) wantsEvents() bool {
	for _, one := range strings.Split(strings.Join(c.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(one)
		if err != nil || media != "text/event-stream" {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		return err != nil || q > 0
	}
	return false
}

// stream writes server-sent events to one caller. Its head goes out with the first event.
type stream struct {
	c    *call
	last uint64
}

// send writes one event; 0 is no id. Nothing is sure to have gone out before flush.
func (st *stream) send(id uint64, kind string, data any) error {
	st.begin()
	var b bytes.Buffer
	if id > 0 {
		fmt.Fprintf(&b, "id: %d\n", id)
		st.last = id
	}
	fmt.Fprintf(&b, "event: %s\ndata: ", kind)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(data); err != nil { // ends with the one line break that it has
		return fmt.Errorf("encode event: %w", err)
	}
	b.WriteByte('\n')
	return st.write(b.Bytes())
}

func (st *stream) begin() {
	if st.c.w.begun {
		return
	}
	h := st.c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	st.c.w.WriteHeader(http.StatusOK)
}

// write gives the caller writeTimeout to take what is sent: a reader that stands still loses its
// connection.
func (st *stream) write(b []byte) error {
	_ = st.c.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails where there is no connection
	if _, err := st.c.w.Write(b); err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	return nil
}

func (st *stream) flush() error {
	_ = st.c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := st.c.control.Flush(); err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	return nil
}

// fail ends a stream that cannot report the result.
func (st *stream) fail(detail string) error {
	return st.send(0, eventError, errorBody{Detail: job.Sanitize(detail), CorrelationID: st.c.correlation})
}

// event forwards one event of a job, all but its result.
func (st *stream) event(id string, e job.Event) error {
	switch e.Kind {
	case job.EventStdout, job.EventStderr:
		return st.send(e.ID, string(e.Kind), textData{e.Text})
	case job.EventGap:
		return st.send(e.ID, string(e.Kind), gapData{"Events before this one are lost to this stream; the result has the whole output"})
	}
	return st.send(e.ID, string(e.Kind), jobData{id})
}

// follow forwards events until the result, which it returns, or until the stream ends without one:
// then the result is nil. An error means that the caller is gone.
func (s *Server) follow(ctx context.Context, st *stream, id string, events iter.Seq[job.Event]) (*job.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan job.Event, followAhead)
	go func() {
		defer close(ready)
		for e := range events {
			select {
			case ready <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range ready { //nolint:revive // until the goroutine has ended
		}
	}()
	beat := time.NewTicker(s.heartbeat)
	defer beat.Stop()
	for {
		var e job.Event
		var more bool
		select {
		case e, more = <-ready:
		default: // nothing at hand: out with what there is
			if st.c.w.begun {
				if err := st.flush(); err != nil {
					return nil, err
				}
			}
			select {
			case e, more = <-ready:
			case <-beat.C:
				st.begin()
				if err := st.write([]byte(": alive\n\n")); err != nil {
					return nil, err
				}
				continue
			}
		}
		switch {
		case !more && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !more:
			return nil, nil
		case e.Kind == job.EventResult:
			return &e, nil
		}
		if err := st.event(id, e); err != nil {
			return nil, err
		}
	}
}

// jobEvents is GET /jobs/{job_id}/events: the stream of a job that waits, runs or has ended,
// resumable by Last-Event-ID.
func (s *Server) jobEvents(c *call) {
	id := c.params[0]
	after, ok := c.lastEventID()
	if !ok {
		return
	}
	f, ok := s.look(c, id, jobNotFound)
	if !ok {
		return
	}
	st := &stream{c: c}
	if events, ok := s.opt.Jobs.Events(c.Context(), id, after); ok {
		result, err := s.follow(c.Context(), st, id, events)
		switch {
		case err != nil:
		case result == nil || result.Record == nil:
			err = st.fail("The stream broke before the result; ask for the job's result")
		default:
			err = st.send(result.ID, string(job.EventResult), s.record(result.Record, "full"))
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the caller is gone
		}
		return
	}
	if f.record == nil || !f.record.Status.Terminal() { // it may have ended since
		if f, ok = s.look(c, id, jobNotFound); !ok {
			return
		}
	}
	if f.record == nil || !f.record.Status.Terminal() {
		c.w.Header().Set("Retry-After", "1")
		c.refuse(http.StatusServiceUnavailable, "The job has no stream at the moment, try again later")
		return
	}
	err := st.replay(f.record, after)
	if err == nil {
		err = st.send(st.last+1, string(job.EventResult), s.record(f.record, "full"))
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// lastEventID reads the header. When it returns false it has answered.
func (c *call) lastEventID() (uint64, bool) {
	text := c.Header.Get("Last-Event-ID")
	if text == "" {
		return 0, true
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		c.invalid([]strictjson.Problem{{
			Type: "int_parsing", Loc: []any{"header", "last-event-id"}, Input: json.RawMessage("null"),
			Msg: "Input should be a valid integer, unable to parse string as an integer",
		}})
		return 0, false
	}
	return id, true
}

// replay makes the stream of a job that has ended from its record. A reader that resumes a stream
// that is gone gets a gap, since nobody knows its position; the result has the whole output.
func (st *stream) replay(r *job.Record, after uint64) error {
	var events []job.Event
	if after > 0 {
		events = []job.Event{{ID: after, Kind: job.EventGap}}
	} else {
		events = []job.Event{{ID: 1, Kind: job.EventQueued}}
		add := func(kind job.EventKind, text string) {
			events = append(events, job.Event{ID: uint64(len(events) + 1), Kind: kind, Text: text})
		}
		if !r.StartedAt.IsZero() {
			add(job.EventStarted, "")
		}
		if r.Stdout != "" {
			add(job.EventStdout, r.Stdout)
		}
		if r.Stderr != "" {
			add(job.EventStderr, r.Stderr)
		}
	}
	for _, e := range events {
		if err := st.event(r.ID, e); err != nil {
			return err
		}
	}
	return nil
}

// outcome is what Jobs.Execute returns.
type outcome struct {
	record *job.Record
	result *job.Result
	err    error
}

// executeStream is POST /execute for a caller who watches: its last event, result, has the body
// that the caller would have got otherwise.
func (s *Server) executeStream(c *call, sub job.Submission, a *asked) {
	id := sub.Spec.ID
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan outcome, 1)
	streams := make(chan iter.Seq[job.Event], 1)
	go func() { done <- s.contained(ctx, sub, a.keep, func(events iter.Seq[job.Event]) { streams <- events }) }()
	var end outcome
	ended := false
	finish := func() {
		if !ended {
			end, ended = <-done, true
		}
	}
	defer func() { // a stream that breaks is a caller who hung up: the run ends with it
		cancel()
		finish()
	}()

	var events iter.Seq[job.Event]
	select {
	case events = <-streams:
	case end = <-done: // it was refused, or it is over already
		ended = true
		select {
		case events = <-streams:
		default:
		}
	}
	st := &stream{c: c}
	var last *job.Event
	if events != nil {
		var err error
		if last, err = s.follow(ctx, st, id, events); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	finish()
	var err error
	switch {
	case end.err != nil && !c.w.begun:
		s.failed(c, "Execution error", end.err)
	case end.err != nil:
		err = st.fail("Execution error: " + s.publicMessage(c, "Execution error", end.err))
	case last != nil:
		err = s.streamResult(st, last.ID, sub.Spec, end, a.inline)
	default:
		err = s.streamResult(st, st.last+1, sub.Spec, end, a.inline)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// streamResult writes the last event of a run.
func (s *Server) streamResult(st *stream, id uint64, spec *job.Spec, end outcome, inline bool) error {
	answer := s.executeAnswer(spec, end.record, end.result)
	if !inline {
		return st.send(id, string(job.EventResult), answer)
	}
	in, err := s.inline(st.c, answer, end.result.Artifacts)
	switch {
	case errors.Is(err, errFull):
		return st.fail(fullDetail)
	case err != nil:
		return st.fail("Execution error: " + s.publicMessage(st.c, "Execution error", err))
	}
	defer in.close()
	st.begin()
	st.last = id
	if err := st.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: ", id, job.EventResult)); err != nil {
		return err
	}
	if _, err := in.WriteTo(patient{st.c}); err != nil { // ends with the one line break that it has
		return fmt.Errorf("send event: %w", err)
	}
	return st.write([]byte("\n"))
}

// contained calls Execute on a goroutine of its own, whose panic would end the daemon.
func (s *Server) contained(ctx context.Context, sub job.Submission, keep bool, watch func(iter.Seq[job.Event])) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("run panicked", "id", sub.Spec.ID, "panic", p, "stack", string(debug.Stack()))
			o = outcome{err: fmt.Errorf("internal error")}
		}
	}()
	o.record, o.result, o.err = s.opt.Jobs.Execute(ctx, sub, keep, watch)
	return o
}
