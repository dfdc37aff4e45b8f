package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Event is one event of a job. Of job.EventResult, Client.Events sets Record and Client.Watch sets
// Answer.
type Event struct {
	ID          uint64
	Kind        job.EventKind
	Text        string // of stdout and stderr
	ExecutionID string // of job.EventQueued and job.EventStarted
	Record      *job.FullAnswer
	Answer      *job.ExecuteAnswer
}

// Watch runs a job, as Execute does, and returns its events while they happen; the last is the
// result. A stream that breaks, or a reader that stops before the result, cancels the job. An error
// ends the stream: then there was no result.
func (c *Client) Watch(ctx context.Context, r Request) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		body, err := r.body()
		if err != nil {
			yield(Event{}, err)
			return
		}
		header := http.Header{"Accept": {"text/event-stream"}, "Content-Type": {"application/json"}}
		answer, err := c.do(ctx, http.MethodPost, "/execute", header, bytes.NewReader(body))
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer answer.Body.Close()
		for e, err := range read(answer.Body, func(e *Event) any { e.Answer = new(job.ExecuteAnswer); return e.Answer }) {
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// streamTries bounds how often in a row a stream is asked for again without a new event.
const streamTries = 10

// Events is the stream of a job until its result, the last event. A connection that breaks is made
// again and the stream goes on after the last event; job.EventGap reports what was lost all the
// same. An error ends the stream: then there was no result.
func (c *Client) Events(ctx context.Context, id string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		var last uint64
		for tries := 0; ; tries++ {
			before := last
			ended, err := c.stream(ctx, id, &last, yield)
			if last != before {
				tries = 0
			}
			var refused *Error
			final := errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable
			switch {
			case ended:
				return
			case ctx.Err() != nil || final || tries >= streamTries:
				yield(Event{}, err)
				return
			}
			select {
			case <-time.After(retryStream):
			case <-ctx.Done():
			}
		}
	}
}

// stream reads one connection's events. ended reports that the result has come or that the reader
// has enough.
func (c *Client) stream(ctx context.Context, id string, last *uint64, yield func(Event, error) bool) (ended bool, err error) {
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last > 0 {
		header.Set("Last-Event-ID", strconv.FormatUint(*last, 10))
	}
	answer, err := c.do(ctx, http.MethodGet, "/jobs/"+url.PathEscape(id)+"/events", header, nil)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	for e, err := range read(answer.Body, func(e *Event) any { e.Record = new(job.FullAnswer); return e.Record }) {
		if err != nil {
			return false, err
		}
		if e.ID > 0 {
			*last = e.ID
		}
		if !yield(e, nil) || e.Kind == job.EventResult {
			return true, nil
		}
	}
	return true, nil
}

// read decodes server-sent events until the result, which goes into what result returns, or until
// an error, the last that is returned.
func read(body io.Reader, result func(*Event) any) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		lines := bufio.NewReader(io.LimitReader(body, maxAnswer))
		var at, kind, data string
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				yield(Event{}, fmt.Errorf("the stream of the job broke: %w", err))
				return
			}
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case line == "\n" && kind != "":
				e, err := decodeEvent(at, kind, data, result)
				if !yield(e, err) || err != nil || e.Kind == job.EventResult {
					return
				}
				at, kind, data = "", "", ""
			case field == "id":
				at = value
			case field == "event":
				kind = value
			case field == "data":
				data = value
			}
		}
	}
}

func decodeEvent(at, kind, data string, result func(*Event) any) (Event, error) {
	e := Event{Kind: job.EventKind(kind)}
	if at != "" {
		id, err := strconv.ParseUint(at, 10, 64)
		if err != nil {
			return e, fmt.Errorf("event id of %d bytes: %w", len(at), err)
		}
		e.ID = id
	}
	var err error
	switch e.Kind {
	case job.EventStdout, job.EventStderr:
		var text struct{ Text string }
		err = json.Unmarshal([]byte(data), &text)
		e.Text = text.Text
	case job.EventQueued, job.EventStarted:
		var of struct {
			ExecutionID string `json:"execution_id"`
		}
		err = json.Unmarshal([]byte(data), &of)
		e.ExecutionID = of.ExecutionID
	case job.EventResult:
		err = json.Unmarshal([]byte(data), result(&e))
	case "error":
		var told struct{ Detail string }
		if err = json.Unmarshal([]byte(data), &told); err == nil {
			err = errors.New(told.Detail)
		}
	}
	if err != nil {
		return e, fmt.Errorf("event %s: %w", kind, err)
	}
	return e, nil
}
