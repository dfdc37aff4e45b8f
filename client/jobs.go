package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tsubo-run/tsubo/job"
)

// Data is a text or bytes in a request.
type Data []byte

// MarshalJSON writes a text as one, and anything else in base64.
func (d Data) MarshalJSON() ([]byte, error) {
	if utf8.Valid(d) {
		return json.Marshal(string(d))
	}
	return json.Marshal(struct {
		Base64 []byte `json:"base64"`
	}{d})
}

// body is a request body for Execute and Submit.
func (r Request) body() ([]byte, error) {
	if !utf8.ValidString(r.Code) {
		return nil, errors.New("the code is not UTF-8")
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return body, nil
}

// Submit puts a job into the queue. When it returns, the job survives a crash of the daemon. With
// an IdempotencyKey it may be called again after a failure: the answer is then the job that there
// was, with its status.
func (c *Client) Submit(ctx context.Context, r Request) (*job.SubmitAnswer, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	return send[job.SubmitAnswer](ctx, c, http.MethodPost, "/execute/async", body)
}

// Status returns where a job is.
func (c *Client) Status(ctx context.Context, id string) (*job.StatusAnswer, error) {
	return send[job.StatusAnswer](ctx, c, http.MethodGet, "/jobs/"+url.PathEscape(id), nil)
}

// Result waits until a job has ended and returns its whole record; ctx bounds the wait.
func (c *Client) Result(ctx context.Context, id string) (*job.FullAnswer, error) {
	path := "/jobs/" + url.PathEscape(id) + "/result?view=full&wait=true&timeout=300"
	for {
		answer, err := send[job.FullAnswer](ctx, c, http.MethodGet, path, nil)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusRequestTimeout && ctx.Err() == nil {
			continue // it goes on
		}
		if err == nil && answer.ExecutionID == "" {
			return nil, errors.New("the answer is no record")
		}
		return answer, err
	}
}

// Record returns the whole record of a job as it is.
func (c *Client) Record(ctx context.Context, id string) (*job.FullAnswer, error) {
	return send[job.FullAnswer](ctx, c, http.MethodGet, "/executions/"+url.PathEscape(id)+"?view=full", nil)
}

// Cancel ends a job now.
func (c *Client) Cancel(ctx context.Context, id string) error {
	_, err := send[job.CancelAnswer](ctx, c, http.MethodPost, "/jobs/"+url.PathEscape(id)+"/cancel", nil)
	return err
}

// Replace is what a rerun or a fork has instead of its parent's; fields that are zero are the
// parent's.
type Replace struct {
	Code    string `json:"code,omitempty"` // for a fork
	JobType string `json:"job_type,omitempty"`
	Timeout *int64 `json:"timeout,omitempty"` // seconds
}

// Rerun runs a job that has ended again.
func (c *Client) Rerun(ctx context.Context, id string, r Replace) (*job.SubmitAnswer, error) {
	return c.again(ctx, id, "rerun", r)
}

// Fork runs other code with what a job that has ended was given.
func (c *Client) Fork(ctx context.Context, id string, r Replace) (*job.SubmitAnswer, error) {
	return c.again(ctx, id, "fork", r)
}

func (c *Client) again(ctx context.Context, id, verb string, r Replace) (*job.SubmitAnswer, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return send[job.SubmitAnswer](ctx, c, http.MethodPost, "/jobs/"+url.PathEscape(id)+"/"+verb, body)
}

// Artifact returns the bytes of an artifact from one byte on; the caller closes the stream, which
// is not checked against a digest.
func (c *Client) Artifact(ctx context.Context, id, name string, from int64) (io.ReadCloser, error) {
	path := "/jobs/" + url.PathEscape(id) + "/artifacts/" + url.PathEscape(name)
	var header http.Header
	if from > 0 {
		header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", from)}}
	}
	answer, err := c.do(ctx, http.MethodGet, path, header, nil)
	if err != nil {
		return nil, err
	}
	if from > 0 && answer.StatusCode != http.StatusPartialContent {
		return nil, errors.Join(errors.New("the answer is not the range that was asked for"), answer.Body.Close())
	}
	return answer.Body, nil
}

// Listing selects records; zero fields select all.
type Listing struct {
	Status, JobType string
	Labels          map[string]string // each must match
	Limit, Offset   int               // Limit 0 is the daemon's own
}

// Executions is one page of the caller's records, newest first.
func (c *Client) Executions(ctx context.Context, l Listing) (*job.Page[job.RecordAnswer], error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Add(name, value)
		}
	}
	set("status", l.Status)
	set("job_type", l.JobType)
	for name, value := range l.Labels {
		q.Add("label", name+"="+value)
	}
	if l.Limit > 0 {
		set("limit", strconv.Itoa(l.Limit))
	}
	if l.Offset > 0 {
		set("offset", strconv.Itoa(l.Offset))
	}
	return send[job.Page[job.RecordAnswer]](ctx, c, http.MethodGet, "/executions?"+q.Encode(), nil)
}

// Delete forgets a job that has ended, with its record and artifacts.
func (c *Client) Delete(ctx context.Context, id string) error {
	answer, err := c.do(ctx, http.MethodDelete, "/executions/"+url.PathEscape(id), nil, nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// JobTypes lists the job types.
func (c *Client) JobTypes(ctx context.Context) ([]job.TypeAnswer, error) {
	answer, err := send[[]job.TypeAnswer](ctx, c, http.MethodGet, "/job-types", nil)
	if err != nil {
		return nil, err
	}
	return *answer, nil
}

// PoolSandboxes is GET /pool/sandboxes.
func (c *Client) PoolSandboxes(ctx context.Context) (*job.SandboxStats, error) {
	return send[job.SandboxStats](ctx, c, http.MethodGet, "/pool/sandboxes", nil)
}

// PoolStats returns how many jobs wait and run.
func (c *Client) PoolStats(ctx context.Context) (*job.QueueStats, error) {
	return send[job.QueueStats](ctx, c, http.MethodGet, "/pool/stats", nil)
}

// DeadLetters is one page of the dead letter queue. It needs the admin role.
func (c *Client) DeadLetters(ctx context.Context, limit, offset int) (*job.Page[job.DeadAnswer], error) {
	return send[job.Page[job.DeadAnswer]](ctx, c, http.MethodGet, fmt.Sprintf("/dlq?limit=%d&offset=%d", limit, offset), nil)
}

// Version asks for the daemon's version.
func (c *Client) Version(ctx context.Context) (*job.VersionAnswer, error) {
	return send[job.VersionAnswer](ctx, c, http.MethodGet, "/version", nil)
}

// send sends a request with a JSON body, or none, and decodes the answer.
func send[T any](ctx context.Context, c *Client, method, path string, body []byte) (*T, error) {
	var reader io.Reader
	kind := ""
	if body != nil {
		reader, kind = bytes.NewReader(body), "application/json"
	}
	answer := new(T)
	if err := c.call(ctx, method, path, kind, reader, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// do sends a request and returns a 2xx answer, whose body the caller closes.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://tsubo"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	answer, err := c.transport.RoundTrip(request) // no redirects, no cookies
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return nil, refusal(answer, data)
}

// retryStream is the pause before a stream that broke is asked for again.
const retryStream = 500 * time.Millisecond
