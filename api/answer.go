package api

import (
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

// firstRead is how much memory a body gets before its first byte has come.
const firstRead = 4 << 10

// readBody reads the whole body into c.body, at most limit bytes of it. Memory is counted when
// bytes have come for it, whatever length was announced. When readBody returns false it has
// answered.
func (s *Server) readBody(c *call, limit int64) bool {
	if c.Body == nil || c.Body == http.NoBody {
		return true
	}
	if c.ContentLength > limit {
		c.tooLarge(limit)
		return false
	}
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails where there is no connection
	from := io.LimitReader(c.Body, limit+1)
	var err error
	for err == nil {
		if len(c.body) == cap(c.body) {
			next := min(max(2*int64(cap(c.body)), firstRead), limit+1)
			if c.ContentLength >= 0 {
				next = min(next, c.ContentLength+1) // one more, to see the end
			}
			if !s.hold(c, next-int64(cap(c.body))) {
				c.full()
				return false
			}
			c.body = append(make([]byte, 0, next), c.body...)
		}
		var n int
		n, err = from.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		if int64(len(c.body)) > limit {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return c.bodyRead(int64(len(c.body)), limit, err)
}

// bodyRead answers when a body of n bytes is over the limit or could not be read, and then returns
// false.
func (c *call) bodyRead(n, limit int64, err error) bool {
	switch {
	case n > limit:
		c.tooLarge(limit)
		return false
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.leaveBody()
		c.refuse(http.StatusRequestTimeout, "The request body took too long")
		return false
	case err != nil:
		c.leaveBody()
		c.refuse(http.StatusBadRequest, "The request body is malformed")
		return false
	}
	// The connection is read on for the hang-up of the caller; a deadline would look like one.
	_ = c.control.SetReadDeadline(time.Time{})
	return true
}

// skipBody is for a route that takes no body. A body over the limit is refused (wire.md 1.0).
// Nothing is kept: a body of known length is not read and its connection is closed; one of unknown
// length is counted and discarded. When skipBody returns false it has answered.
func (c *call) skipBody(limit int64) bool {
	switch {
	case c.Body == nil || c.Body == http.NoBody:
		return true
	case c.ContentLength > limit:
		c.tooLarge(limit)
		return false
	case c.ContentLength >= 0:
		c.leaveBody()
		return true
	}
	_ = c.control.SetReadDeadline(time.Now().Add(bodyTimeout)) // fails where there is no connection
	n, err := io.Copy(io.Discard, io.LimitReader(c.Body, limit+1))
	return c.bodyRead(n, limit, err)
}

// leaveBody has the connection closed behind the answer, without a wait for the rest of the body.
func (c *call) leaveBody() {
	c.w.Header().Set("Connection", "close")
	if c.Body != nil && c.Body != http.NoBody {
		// net/http reads some of the rest before it closes.
		_ = c.control.SetReadDeadline(time.Now().Add(unreadTimeout)) // fails where there is no connection
	}
}

func (c *call) tooLarge(limit int64) {
	c.leaveBody()
	c.refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("Payload too large: the limit is %d bytes", limit))
}

// json answers with a body. A value that cannot be encoded is a mistake of this package.
func (c *call) json(status int, body any) {
	b, err := encode(body)
	if err != nil {
		panic(err.Error())
	}
	c.send(status, "application/json", b)
}

// send answers with a whole body. A large one is counted while it is on its way.
func (c *call) send(status int, kind string, body []byte) {
	if len(body) > freeBytes && !c.server.hold(c, int64(len(body))) {
		c.full()
		return
	}
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = patient{c}.Write(body) // a caller who is gone needs no answer
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

// failed answers an error of what a handler called: a refusal with its own status, anything else
// 500. Of that only the log has the text, under the correlation id: it may hold the words of a
// database or of the host.
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
	c.refuse(http.StatusInternalServerError, what+": "+s.publicMessage(c, what, err))
}

// publicMessage logs err and returns the client's text. When the caller is gone it aborts the
// handler.
func (s *Server) publicMessage(c *call, what string, err error) string {
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
