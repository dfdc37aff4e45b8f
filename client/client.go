package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// DefaultSocket is where tsubod listens when nothing else is configured.
const DefaultSocket = "/run/tsubo/tsubo.sock"

// maxAnswer bounds an answer in bytes: more than the largest artifacts in base64 and the largest
// outputs that can be configured for a request with inline artifacts on a host of common size.
const maxAnswer = 512 << 20

// Client sends requests to one daemon. It is safe for concurrent use. Close frees its idle
// connections.
type Client struct {
	socket    string
	transport *http.Transport
}

// New makes a Client for the daemon at socket. It connects when the first request is made.
func New(socket string) *Client {
	c := &Client{socket: socket}
	c.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		// No proxy, and no bound on the time to the answer: a run lasts as long as its timeouts
		// allow.
		DisableCompression: true,
	}
	return c
}

// Close ends idle connections. Requests under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("nothing listens on %s: is tsubod running?", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("no access to %s: become root, or a member of the socket's group", c.socket)
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", c.socket, err)
	}
	return conn, nil
}

// Error is an answer that refuses the request: nothing ran, nothing was changed.
type Error struct {
	Status        int    // HTTP status
	Detail        string // one line for a list of problems each, joined with "; "
	CorrelationID string // for the daemon's log
	RetryAfter    time.Duration
}

func (e *Error) Error() string { return fmt.Sprintf("%s (HTTP %d)", e.Detail, e.Status) }

// Request is the body of Execute and Submit. Fields that are nil or empty are left out, and the
// daemon's defaults hold.
type Request struct {
	Code           string            `json:"code"`
	InputData      json.RawMessage   `json:"input_data,omitempty"` // an object
	Timeout        *int64            `json:"timeout,omitempty"`    // seconds
	StartupTimeout *int64            `json:"startup_timeout,omitempty"`
	JobType        string            `json:"job_type,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"` // for Submit
	Requirements   []string          `json:"requirements,omitempty"`
	Filename       string            `json:"filename,omitempty"`   // of the program in /code
	CodeFiles      map[string]Data   `json:"code_files,omitempty"` // below /code
	Files          map[string]Data   `json:"files,omitempty"`      // below /input
	Stdin          Data              `json:"stdin,omitempty"`
	Args           []string          `json:"args,omitempty"`
	MemoryLimit    string            `json:"memory_limit,omitempty"` // such as "512m"
	CPULimit       float64           `json:"cpu_limit,omitempty"`    // cores
	Environment    map[string]string `json:"environment,omitempty"`
	RawStdout      bool              `json:"raw_stdout,omitempty"`  // the bytes of stdout become the artifact job.RawStdoutName
	Metadata       map[string]string `json:"metadata,omitempty"`    // labels of the record
	KeepRecord     *bool             `json:"keep_record,omitempty"` // for Execute
	Artifacts      string            `json:"artifacts,omitempty"`   // for Execute: job.ArtifactsInline to get their bytes
}

// Execute runs a job and waits for its end. A program that fails is an answer, not an error. When
// ctx ends the job is cancelled.
func (c *Client) Execute(ctx context.Context, r Request) (*job.ExecuteAnswer, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	return send[job.ExecuteAnswer](ctx, c, http.MethodPost, "/execute", body)
}

// Health asks how the daemon is.
func (c *Client) Health(ctx context.Context) (*job.HealthAnswer, error) {
	answer := new(job.HealthAnswer)
	if err := c.call(ctx, http.MethodGet, "/health", "", nil, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// Images lists the catalogue.
func (c *Client) Images(ctx context.Context) ([]job.Image, error) {
	var answer job.ImagesAnswer
	if err := c.call(ctx, http.MethodGet, "/images", "", nil, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// ImportImage uploads an OCI archive (a tar of an image layout) and makes it known under name. It
// needs the admin role. The archive is read to its end, or until the daemon refuses it, and then
// perhaps a little longer in the background; the caller closes it.
func (c *Client) ImportImage(ctx context.Context, name string, archive io.Reader) (*job.Image, error) {
	image := new(job.Image)
	if err := c.call(ctx, http.MethodPost, "/images?name="+url.QueryEscape(name), "application/x-tar", io.NopCloser(archive), image); err != nil {
		return nil, err
	}
	return image, nil
}

// call sends one request and decodes a 2xx answer into to, unless that is nil.
func (c *Client) call(ctx context.Context, method, path, contentType string, body io.Reader, to any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://tsubo"+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := c.transport.RoundTrip(request) // no redirects, no cookies
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	if answer.StatusCode/100 != 2 {
		return refusal(answer, data)
	}
	if to == nil {
		return nil
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// refusal reads an error body: detail is a sentence, or a list of problems.
func refusal(answer *http.Response, data []byte) error {
	e := &Error{Status: answer.StatusCode, CorrelationID: answer.Header.Get("X-Correlation-ID")}
	if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && n > 0 && n < 86400 {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	var body struct{ Detail json.RawMessage }
	_ = json.Unmarshal(data, &body) // what cannot be read is shown as it is below
	var problems []struct {
		Loc []any
		Msg string
	}
	switch {
	case json.Unmarshal(body.Detail, &e.Detail) == nil:
	case json.Unmarshal(body.Detail, &problems) == nil:
		lines := make([]string, len(problems))
		for i, p := range problems {
			var path []string
			for _, step := range p.Loc[min(1, len(p.Loc)):] { // without "body"
				path = append(path, fmt.Sprint(step))
			}
			if lines[i] = p.Msg; len(path) > 0 {
				lines[i] = strings.Join(path, ".") + ": " + p.Msg
			}
		}
		e.Detail = strings.Join(lines, "; ")
	}
	if e.Detail == "" {
		e.Detail = strings.ToValidUTF8(string(data[:min(len(data), 500)]), "")
	}
	return e
}
