package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// client speaks to a tsubod as a program does that knows no more than the wire contract.
type client struct{ http *http.Client }

func newClient(socket string) *client {
	return &client{&http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 32,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}}
}

func (c *client) do(method, path string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequest(method, "http://tsubo"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (c *client) get(path string) (status int, answer []byte, err error) {
	return c.do(http.MethodGet, path, nil)
}

// want makes an answer of another status an error.
func want(status int, answer []byte, err error) ([]byte, error) {
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("HTTP %d %s", status, answer)
	}
	return answer, err
}

// submission is job i of a load: everything about it follows from the seed and the number, which
// are also its idempotency key.
type submission struct {
	seed uint64
	i    int
}

func (s submission) key() string { return fmt.Sprintf("key-%d-%d", s.seed, s.i) }

func parseKey(key string) (s submission, err error) {
	if _, err := fmt.Sscanf(key, "key-%d-%d", &s.seed, &s.i); err != nil {
		return s, fmt.Errorf("key %q is of no load: %w", key, err)
	}
	return s, nil
}

// kind is the job type: one in five is run again when it was interrupted.
func (s submission) kind() string {
	if s.i%5 == 0 {
		return "again"
	}
	return "small"
}

// artifact is what it writes to /output, "" for nothing.
func (s submission) artifact() string {
	if s.i%4 == 0 {
		return fmt.Sprintf("artifact of %s\n", s.key())
	}
	return ""
}

func (s submission) stdout() string { return "done " + s.key() + "\n" }

func (s submission) body() []byte {
	code := "import json\nkey = json.load(open('/input/data.json'))['key']\n"
	if s.i%3 == 0 {
		code += "import time; time.sleep(0.5)\n" // so that some are running whenever it is
	}
	if s.artifact() != "" {
		code += "open('/output/a.txt', 'w').write('artifact of ' + key + '\\n')\n"
	}
	code += "print('done', key)\n"
	body, err := json.Marshal(map[string]any{
		"code": code, "input_data": map[string]any{"key": s.key()}, "job_type": s.kind(), "idempotency_key": s.key(), "timeout": 60,
	})
	if err != nil {
		fatal("encode a request: %v", err)
	}
	return body
}

// submit returns the job's id.
func (c *client) submit(s submission) (id string, err error) {
	answer, err := want(c.do(http.MethodPost, "/execute/async", s.body()))
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", s.key(), err)
	}
	var a struct {
		JobID string `json:"job_id"`
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.JobID == "" {
		return "", fmt.Errorf("submit %s: %w: %s", s.key(), err, answer)
	}
	return a.JobID, nil
}

// record is the answer of GET /executions/{id} and the digest of its text.
type record struct {
	job.FullAnswer
	digest string
}

// errGone is for a record that is not there.
var errGone = fmt.Errorf("no such record")

func (c *client) record(id string) (*record, error) {
	status, text, err := c.get("/executions/" + id + "?view=full")
	if err == nil && status == http.StatusNotFound {
		return nil, errGone
	}
	if _, err := want(status, text, err); err != nil {
		return nil, fmt.Errorf("read record %s: %w", id, err)
	}
	r := &record{digest: digest(json.RawMessage(text))}
	if err := json.Unmarshal(text, &r.FullAnswer); err != nil {
		return nil, fmt.Errorf("read record %s: %w: %s", id, err, text)
	}
	return r, nil
}
