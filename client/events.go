package client

import (
	"bufio"
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

// Event is one event of a job. Record is set for job.EventResult only.
type Event struct {
	ID     uint64
	Kind   job.EventKind
	Text   string // of stdout and stderr
	Record *job.FullAnswer
}

// streamTries bounds how often in a row a stream is asked for again without having told anything new.
const streamTries = 10

// Events is the stream of a job until its result, the last event. A connection that breaks is made again and the stream goes on after
// the last event; what got lost all the same is told by job.EventGap. An error ends the stream: then there was no result.
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

// stream reads one connection's events. ended says that the result has come or that the reader has enough.
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
	lines := bufio.NewReader(io.LimitReader(answer.Body, maxAnswer))
	var at, kind, data string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return false, fmt.Errorf("the stream of the job broke: %w", err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n" && kind != "":
			e, err := decodeEvent(at, kind, data)
			if err != nil {
				return false, err
			}
			if e.ID > 0 {
				*last = e.ID
			}
			if !yield(e, nil) || e.Kind == job.EventResult {
				return true, nil
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

func decodeEvent(at, kind, data string) (Event, error) {
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
	case job.EventResult:
		e.Record = new(job.FullAnswer)
		err = json.Unmarshal([]byte(data), e.Record)
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
