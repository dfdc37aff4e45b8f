package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// readBody reads the whole body into c.body, at most limit bytes of it. When it returns false it has answered.
func (c *call) readBody(limit int64) bool {
	if c.Body == nil || c.Body == http.NoBody {
		return true
	}
	if c.ContentLength > limit {
		c.tooLarge(limit)
		return false
	}
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails where there is no connection
	body, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	switch {
	case int64(len(body)) > limit:
		c.tooLarge(limit)
		return false
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.w.Header().Set("Connection", "close")
		c.refuse(http.StatusRequestTimeout, "The request body took too long")
		return false
	case err != nil:
		c.w.Header().Set("Connection", "close")
		c.refuse(http.StatusBadRequest, "The request body is malformed")
		return false
	}
	// The connection is read on for the hang-up of the caller; a deadline would look like one.
	_ = c.control.SetReadDeadline(time.Time{})
	c.body = body
	return true
}

func (c *call) tooLarge(limit int64) {
	c.w.Header().Set("Connection", "close")
	c.refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("Payload too large: the limit is %d bytes", limit))
}

// json answers with a body. A value that cannot be encoded is a mistake of this package.
func (c *call) json(status int, body any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		panic(fmt.Sprintf("encode answer: %v", err))
	}
	c.send(status, "application/json", b.Bytes())
}

// send answers with a whole body.
func (c *call) send(status int, kind string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_ = c.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails where there is no connection
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // a caller who is gone needs no answer
}

// refuse answers with an error body; the detail passes the sanitiser (wire.md 1.0).
func (c *call) refuse(status int, detail string) {
	c.json(status, errorBody{Detail: job.Sanitize(detail), CorrelationID: c.correlation})
}

type errorBody struct {
	Detail        string `json:"detail"`
	CorrelationID string `json:"correlation_id"`
}

// invalid answers 422 with the list of what is wrong.
func (c *call) invalid(problems []strictjson.Problem) {
	c.json(http.StatusUnprocessableEntity, struct {
		Detail []strictjson.Problem `json:"detail"`
	}{problems})
}

var statusOf = map[job.Reason]int{
	job.QueueFull: http.StatusServiceUnavailable,
	job.Busy:      http.StatusServiceUnavailable,
	job.Unready:   http.StatusServiceUnavailable,
	job.TooLarge:  http.StatusUnprocessableEntity,
	job.Invalid:   http.StatusUnprocessableEntity,
	job.NotFound:  http.StatusNotFound,
	job.Conflict:  http.StatusConflict,
	job.TooBig:    http.StatusRequestEntityTooLarge,
	job.NoSpace:   http.StatusInsufficientStorage,
}

// failed answers an error of what a handler called: a refusal with its own status, anything else 500. Of that only the log has the
// text, under the correlation id: it may hold the words of a database or of the host.
func (s *Server) failed(c *call, what string, err error) {
	var r *job.Refusal
	if errors.As(err, &r) && statusOf[r.Reason] != 0 {
		if r.RetryAfter > 0 {
			whole := (r.RetryAfter + time.Second - 1) / time.Second
			c.w.Header().Set("Retry-After", strconv.FormatInt(int64(whole), 10))
		}
		c.refuse(statusOf[r.Reason], r.Message)
		return
	}
	if errors.Is(err, job.ErrNoSpace) {
		s.log.Error(what, "correlation_id", c.correlation, "error", err)
		c.refuse(http.StatusInsufficientStorage, "No space left to keep it")
		return
	}
	c.refuse(http.StatusInternalServerError, what+": "+s.told(c, what, err))
}

// told is what the caller hears of an error; the log has all of it. When the caller is gone it breaks off.
func (s *Server) told(c *call, what string, err error) string {
	var r *job.Refusal
	if errors.As(err, &r) {
		return r.Message
	}
	if c.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	s.log.Error(what, "correlation_id", c.correlation, "error", err)
	return "the server's log has the reason"
}
