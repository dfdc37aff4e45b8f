package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/job"
)

func TestMain(m *testing.M) {
	// net/http lingers half a second after an answer to a body that it has not read.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

func ptr[T any](v T) *T { return &v }

func succeeded() *job.Result {
	return &job.Result{
		Status: job.Succeeded, ExitCode: ptr(0), Stdout: "hi <&>\n", Output: json.RawMessage(`{"n": 1.50}`),
		Timing:    job.Timing{StartupMS: ptr(int64(1200)), ExecutionMS: ptr(int64(34))},
		Artifacts: []job.Artifact{{Name: "a.txt", Size: 3, SHA256: strings.Repeat("0", 64), Data: []byte("abc")}},
		Enforced:  job.Enforced{Runtime: "runsc", Seccomp: true, Network: "none"},
	}
}

// rig is a server on a Unix socket.
type rig struct {
	t      *testing.T
	server *Server
	exec   *fakeExecutor
	images *fakeImages
	store  *fakeStore
	facts  Facts
	client *http.Client
	socket string
}

func testPolicy() Policy {
	python := job.Type{
		Name: "default", Image: "python", Language: job.Python, Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second,
		Limits: job.Limits{Memory: 512 * job.MiB, CPU: 1, Stdout: 65536, Stderr: 65536},
	}
	slow, short, packages := python, python, python
	slow.Name, slow.Timeout = "slow", 500*time.Second
	short.Name, short.Timeout, short.StartupTimeout = "short", 5*time.Second, 20*time.Second
	packages.Name, packages.Image, packages.Requirements = "packages", "", []string{"numpy"}
	return Policy{
		Policy: job.Policy{
			Types:          map[string]job.Type{"default": python, "slow": slow, "short": short, "packages": packages},
			DefaultTimeout: 25 * time.Second, DefaultStartupTimeout: 60 * time.Second,
			MaxTimeout: 300 * time.Second, MaxStartupTimeout: 400 * time.Second,
			MaxCodeBytes: 1000, MaxInputBytes: 2000,
		},
		MaxPayloadBytes: 20000, MaxArchiveBytes: 5000,
		AdminUIDs: []uint32{1000},
	}
}

// newRig serves as if every peer had this uid.
func newRig(t *testing.T, uid uint32) *rig {
	t.Helper()
	store := &fakeStore{}
	r := &rig{t: t, exec: &fakeExecutor{store: store}, images: &fakeImages{}, store: store, facts: Facts{Ready: true, GVisor: true, Breaker: job.Breaker{State: "closed"}}}
	s, err := New(Options{
		Version: "1.2.3", Extensions: []string{"more"}, Runtime: "runsc", Policy: testPolicy(),
		Jobs: r.exec, Store: store, Images: r.images, Keys: &fakeKeys{}, Facts: func() Facts { return r.facts },
	})
	if err != nil {
		t.Fatal(err)
	}
	served := serveAs(t, s, uid)
	r.server, r.socket, r.client = s, served.socket, served.client
	return r
}

// serveAs serves on a socket of its own as if every peer had this uid.
func serveAs(t *testing.T, s *Server, uid uint32) *rig {
	t.Helper()
	r := &rig{t: t, server: s, socket: filepath.Join(shortDir(t), "s")}
	l, err := Listen(ListenOptions{Path: r.socket, MaxConns: 2000})
	if err != nil {
		t.Fatal(err)
	}
	server := s.HTTP()
	server.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, peerKey{}, uid) }
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", r.socket)
	}}
	r.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return r
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tsubo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type reply struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

// do sends a JSON body and reads a JSON answer.
func (r *rig) do(method, path, body string, header ...string) reply {
	r.t.Helper()
	return r.send(r.request(method, path, body, header...))
}

// raw reads an answer of any kind.
func (r *rig) raw(method, path, body string, header ...string) reply {
	r.t.Helper()
	return r.exchange(r.request(method, path, body, header...))
}

func (r *rig) request(method, path, body string, header ...string) *http.Request {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, "http://tsubo"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body == "" {
		q.Body = http.NoBody
	}
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	return q
}

func (r *rig) send(q *http.Request) reply {
	r.t.Helper()
	got := r.exchange(q)
	if len(got.text) > 0 {
		if err := json.Unmarshal([]byte(got.text), &got.body); err != nil && got.text[0] != '[' {
			r.t.Fatalf("%s: %v", got.text, err)
		}
	}
	return got
}

// exchange sends a request and holds the exchange to the OpenAPI document and to the rules for
// every answer.
func (r *rig) exchange(q *http.Request) reply {
	r.t.Helper()
	var body []byte
	if q.GetBody != nil {
		copied, err := q.GetBody()
		if err != nil {
			r.t.Fatal(err)
		}
		body, _ = io.ReadAll(copied)
	}
	a, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	got := reply{status: a.StatusCode, header: a.Header, text: string(text)}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-Xss-Protection": "1; mode=block", "Server": "", "Access-Control-Allow-Origin": "",
	} {
		if got.header.Get(name) != want {
			r.t.Errorf("%s %s: header %s is %q", q.Method, q.URL, name, got.header.Get(name))
		}
	}
	if got.header.Get("X-Correlation-ID") == "" {
		r.t.Errorf("%s %s: no correlation id", q.Method, q.URL)
	}
	loadContract(r.t).hold(r.t, q, body, got.status, got.header, text)
	return got
}

// detail asserts the body of a deliberate error: exactly detail and the correlation id of the
// header.
func (a reply) detail(t *testing.T, status int, want string) {
	t.Helper()
	if a.status != status || len(a.body) != 2 || a.body["correlation_id"] != a.header.Get("X-Correlation-ID") {
		t.Errorf("got %d %s", a.status, a.text)
	}
	if got, _ := a.body["detail"].(string); !strings.Contains(got, want) {
		t.Errorf("detail %q, want %q", got, want)
	}
}

// The rules of the request body: each is refused with a list, names the place, and runs nothing.
func TestExecuteRefusesBadBodies(t *testing.T) {
	r := newRig(t, 1001)
	for _, c := range []struct{ name, body, kind, loc string }{
		{"no body", "", "missing", "body"},
		{"white space", "  ", "json_invalid", "body 2"},
		{"not JSON", "{", "json_invalid", "body 1"},
		{"two values", `{"code":"1"} {}`, "json_invalid", "body 13"},
		{"list", `[]`, "model_attributes_type", "body"},
		{"null", `null`, "model_attributes_type", "body"},
		{"NaN", `{"code":"1","timeout":NaN}`, "json_invalid", "body 22"},
		{"byte order mark", "\ufeff{\"code\":\"1\"}", "json_invalid", "body 0"},
		{"too deep", `{"code":"1","input_data":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100) + "}", "json_invalid", "body 520"},
		{"bad UTF-8", "{\"code\":\"\xff\"}", "json_invalid", "body 9"},
		{"lone surrogate", `{"code":"\ud800"}`, "json_invalid", "body 9"},
		{"duplicate key", `{"code":"1","code":"2"}`, "duplicate_key", "body code"},
		{"duplicate key, escaped", `{"code":"1","\u0063ode":"2"}`, "duplicate_key", "body code"},
		{"duplicate key inside", `{"code":"1","input_data":{"a":[{"b":1,"b":2}]}}`, "duplicate_key", "body input_data a 0 b"},
		{"unknown key", `{"code":"1","cod":"2"}`, "extra_forbidden", "body cod"},
		{"other case", `{"Code":"1"}`, "missing", "body code"},
		{"no code", `{}`, "missing", "body code"},
		{"code null", `{"code":null}`, "string_type", "body code"},
		{"code number", `{"code":1}`, "string_type", "body code"},
		{"code empty", `{"code":""}`, "string_too_short", "body code"},
		{"code blank", `{"code":" \n\t\u00a0\u2003"}`, "value_error", "body code"},
		{"code over the cap", `{"code":"` + strings.Repeat("a", 1001) + `"}`, "string_too_long", "body code"},
		{"code over the cap in bytes", `{"code":"` + strings.Repeat("é", 501) + `"}`, "string_too_long", "body code"},
		{"input list", `{"code":"1","input_data":[]}`, "dict_type", "body input_data"},
		{"input null", `{"code":"1","input_data":null}`, "dict_type", "body input_data"},
		{"input over the cap", `{"code":"1","input_data":{"a":"` + strings.Repeat("a", 1993) + `"}}`, "value_error", "body input_data"},
		{"input over the cap with white space", `{"code":"1","input_data":{` + strings.Repeat(" ", 1999) + `}}`, "value_error", "body input_data"},
		{"timeout zero", `{"code":"1","timeout":0}`, "greater_than_equal", "body timeout"},
		{"timeout negative", `{"code":"1","timeout":-1}`, "greater_than_equal", "body timeout"},
		{"timeout over the schema", `{"code":"1","timeout":86401}`, "less_than_equal", "body timeout"},
		{"timeout 2^63", `{"code":"1","timeout":9223372036854775808}`, "less_than_equal", "body timeout"},
		{"timeout 1e309", `{"code":"1","timeout":1e309}`, "less_than_equal", "body timeout"},
		{"timeout that overflows nanoseconds", `{"code":"1","timeout":9223372037}`, "less_than_equal", "body timeout"},
		{"timeout string", `{"code":"1","timeout":"5"}`, "int_type", "body timeout"},
		{"timeout bool", `{"code":"1","timeout":true}`, "int_type", "body timeout"},
		{"timeout fraction", `{"code":"1","timeout":5.5}`, "int_from_float", "body timeout"},
		{"startup_timeout low", `{"code":"1","startup_timeout":9}`, "greater_than_equal", "body startup_timeout"},
		{"startup_timeout high", `{"code":"1","startup_timeout":601}`, "less_than_equal", "body startup_timeout"},
		{"job_type with a space", `{"code":"1","job_type":"a b"}`, "string_pattern_mismatch", "body job_type"},
		{"job_type with a newline", `{"code":"1","job_type":"a\n"}`, "string_pattern_mismatch", "body job_type"},
		{"job_type empty", `{"code":"1","job_type":""}`, "string_pattern_mismatch", "body job_type"},
		{"job_type long", `{"code":"1","job_type":"` + strings.Repeat("a", 129) + `"}`, "string_too_long", "body job_type"},
		{"idempotency_key short", `{"code":"1","idempotency_key":"1234567"}`, "string_too_short", "body idempotency_key"},
		{"idempotency_key long", `{"code":"1","idempotency_key":"` + strings.Repeat("a", 256) + `"}`, "string_too_long", "body idempotency_key"},
		{"idempotency_key pattern", `{"code":"1","idempotency_key":"12345678!"}`, "string_pattern_mismatch", "body idempotency_key"},
		{"requirements string", `{"code":"1","requirements":"numpy"}`, "list_type", "body requirements"},
		{"requirements of numbers", `{"code":"1","requirements":["a",1]}`, "string_type", "body requirements 1"},
		{"requirements too many", `{"code":"1","requirements":[` + strings.Repeat(`"a",`, 50) + `"a"]}`, "too_long", "body requirements"},
		{"requirement invalid", `{"code":"1","requirements":["numpy","git+https://x/y"]}`, "value_error", "body requirements 1"},
		{"artifacts", `{"code":"1","artifacts":"all"}`, "literal_error", "body artifacts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.do("POST", "/execute", c.body)
			list, _ := a.body["detail"].([]any)
			if a.status != 422 || len(a.body) != 1 || len(list) == 0 {
				t.Fatalf("got %d %s", a.status, a.text)
			}
			first, _ := list[0].(map[string]any)
			loc := strings.Trim(fmt.Sprint(first["loc"]), "[]")
			if first["type"] != c.kind || loc != c.loc || first["msg"] == "" {
				t.Errorf("got %v", first)
			}
			if _, has := first["input"]; !has {
				t.Errorf("no input in %v", first)
			}
			if len(a.text) > 8000 {
				t.Errorf("answer of %d bytes", len(a.text))
			}
		})
	}
	if n := len(r.exec.ran()); n != 0 {
		t.Errorf("%d of them ran", n)
	}
}

func TestExecuteReportsEverythingAtOnce(t *testing.T) {
	r := newRig(t, 1001)
	a := r.do("POST", "/execute", `{"timeout":"x","job_type":"!","a":1,"b":2}`)
	list, _ := a.body["detail"].([]any)
	if a.status != 422 || len(list) != 5 {
		t.Errorf("got %d %s", a.status, a.text)
	}
	many := `{"code":"1"`
	for i := range 500 {
		many += fmt.Sprintf(`,"k%d":1`, i)
	}
	a = r.do("POST", "/execute", many+"}")
	if list, _ := a.body["detail"].([]any); a.status != 422 || len(list) != 50 {
		t.Errorf("got %d with %d entries", a.status, len(list))
	}
}

func TestExecuteRefusesWithASentence(t *testing.T) {
	r := newRig(t, 1001)
	for _, c := range []struct {
		name, body string
		status     int
		detail     string
	}{
		{"timeout over max_timeout", `{"code":"1","timeout":301}`, 422, "timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"before the type is looked up", `{"code":"1","timeout":301,"job_type":"nope"}`, 422, "timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"type over max_timeout", `{"code":"1","job_type":"slow"}`, 422, "effective timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"startup_timeout over max", `{"code":"1","startup_timeout":401}`, 422, "startup_timeout must be less than or equal to the configured max_startup_timeout (400 seconds)"},
		{"unknown type", `{"code":"1","job_type":"nope"}`, 404, "Job type 'nope' not found"},
		{"unknown type with version", `{"code":"1","job_type":"nope@1"}`, 404, "Job type 'nope' not found"},
		{"unknown type like an id", `{"code":"1","job_type":"0123456789ab"}`, 404, "Job type '<container-id>' not found"},
	} {
		a := r.do("POST", "/execute", c.body)
		a.detail(t, c.status, c.detail)
		if got := a.body["detail"]; got != c.detail {
			t.Errorf("%s: %v, want exactly %s", c.name, got, c.detail)
		}
	}
	if n := len(r.exec.ran()); n != 0 {
		t.Errorf("%d of them ran", n)
	}
}

func TestRequirementsAreRefusedRuns(t *testing.T) {
	r := newRig(t, 1001)
	for _, body := range []string{`{"code":"1","requirements":["numpy>=1,<2"]}`, `{"code":"1","job_type":"packages"}`} {
		a := r.do("POST", "/execute", body)
		message, _ := a.body["error"].(string)
		if a.status != 200 || a.body["success"] != false || a.body["exit_code"] != -1.0 || a.body["runtime"] != "runsc" ||
			!strings.Contains(message, "Runtime dependency installation is disabled") {
			t.Errorf("%s: %d %s", body, a.status, a.text)
		}
	}
	if a := r.do("POST", "/execute", `{"code":"1","requirements":[]}`); a.body["success"] != true {
		t.Errorf("an empty list: %s", a.text)
	}
}

// answerKeys of POST /execute, all always there.
var answerKeys = []string{
	"artifacts", "artifacts_note", "artifacts_skipped", "enforced", "error", "error_type", "execution_id", "execution_time", "exit_code", "job_type",
	"output", "output_error", "resource_usage", "runtime", "status", "stderr", "stderr_truncated", "stdout", "stdout_truncated", "success", "timing",
}

func TestExecuteAnswer(t *testing.T) {
	r := newRig(t, 1001)
	a := r.do("POST", "/execute", `{"code":"print('hi')"}`)
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s", a.status, a.text)
	}
	var keys []string
	for k := range a.body {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if !slices.Equal(keys, answerKeys) {
		t.Errorf("keys %v", keys)
	}
	id, _ := a.body["execution_id"].(string)
	if !strings.HasPrefix(id, "api-") || len(id) != 40 || id != r.exec.ran()[0].ID {
		t.Errorf("execution_id %q", id)
	}
	if a.body["success"] != true || a.body["execution_time"] != 1.234 || a.body["stdout"] != "hi <&>\n" || a.body["error"] != nil ||
		a.body["job_type"] != "default" || a.body["runtime"] != "runsc" || a.body["exit_code"] != 0.0 {
		t.Errorf("got %s", a.text)
	}
	if !strings.Contains(a.text, `"output":{"n":1.50}`) || !strings.Contains(a.text, "hi <&>") || !strings.Contains(a.text, `"data":null`) {
		t.Errorf("got %s", a.text)
	}
	if a := r.do("POST", "/execute", `{"code":"1","artifacts":"inline"}`); !strings.Contains(a.text, `"data":"YWJj"`) {
		t.Errorf("got %s", a.text)
	}
}

func TestExecuteAnswersFailuresWith200(t *testing.T) {
	r := newRig(t, 1001)
	for _, c := range []struct {
		name   string
		result job.Result
		want   map[string]any
	}{
		{"failed", job.Result{Status: job.Failed, ExitCode: ptr(3), Error: &job.Error{Type: "value_error", Message: "ValueError: /home/alice/x"}},
			map[string]any{"success": false, "exit_code": 3.0, "error": "ValueError: /home/***/x", "error_type": "value_error", "status": "failed", "output": nil, "execution_time": 0.0}},
		{"cancelled", job.Result{Status: job.Cancelled, Error: &job.Error{Type: job.TypeCancelled, Message: "Execution was cancelled by user"}},
			map[string]any{"success": false, "exit_code": nil, "status": "cancelled"}},
		{"list as output", job.Result{Status: job.Succeeded, ExitCode: ptr(0), Output: json.RawMessage(`[1,2]`)},
			map[string]any{"success": true, "output": []any{1.0, 2.0}}},
		{"output that is no JSON", job.Result{Status: job.Succeeded, ExitCode: ptr(0), Output: json.RawMessage(`{"a":NaN}`)},
			map[string]any{"success": true, "output": nil, "output_error": "result.json is not JSON: NaN, line 1, column 6"}},
		// A store from before ruling 25 may hold what strict parsers refuse.
		{"a lone surrogate", job.Result{Status: job.Succeeded, ExitCode: ptr(0), Output: json.RawMessage(`{"a":"\ud83d"}`)},
			map[string]any{"success": true, "output": map[string]any{"a": "\ufffd"}}},
		{"a number that Python refuses", job.Result{Status: job.Succeeded, ExitCode: ptr(0), Output: json.RawMessage(strings.Repeat("9", 5000))},
			map[string]any{"success": true, "output": nil, "output_error": "result.json has a number of more than 4300 digits"}},
	} {
		r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) { return &c.result, nil }
		a := r.do("POST", "/execute", `{"code":"1"}`)
		if a.status != 200 || len(a.body) != len(answerKeys) {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
		for k, v := range c.want {
			if !reflect.DeepEqual(a.body[k], v) {
				t.Errorf("%s: %s is %v, want %v", c.name, k, a.body[k], v)
			}
		}
	}
}

func TestSpecIsComplete(t *testing.T) {
	r := newRig(t, 1001)
	for _, c := range []struct {
		body string
		want job.Spec
	}{
		{`{"code":"1"}`, job.Spec{Type: "default", TypeRef: "default@latest", Timeout: 25 * time.Second, StartupTimeout: 60 * time.Second, Input: json.RawMessage(`{}`)}},
		{`{"code":"1","job_type":"default"}`, job.Spec{Type: "default", TypeRef: "default@latest", Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second, Input: json.RawMessage(`{}`)}},
		{`{"code":"1","job_type":"short@v2"}`, job.Spec{Type: "short", TypeRef: "short@v2@latest", Timeout: 5 * time.Second, StartupTimeout: 20 * time.Second, Input: json.RawMessage(`{}`)}},
		{`{"code":"1","timeout":7.0,"startup_timeout":1e1,"job_type":"slow","idempotency_key":"12345678"}`,
			job.Spec{Type: "slow", TypeRef: "slow@latest", Timeout: 7 * time.Second, StartupTimeout: 10 * time.Second, Input: json.RawMessage(`{}`)}},
		{`{"code":"1","timeout":null,"startup_timeout":null,"job_type":null,"idempotency_key":null,"requirements":null,"artifacts":null}`,
			job.Spec{Type: "default", TypeRef: "default@latest", Timeout: 25 * time.Second, StartupTimeout: 60 * time.Second, Input: json.RawMessage(`{}`)}},
		{`{"code":"1","input_data": { "a": 1.50, "b":12345678901234567890123, "c":1E400 } }`,
			job.Spec{Type: "default", TypeRef: "default@latest", Timeout: 25 * time.Second, StartupTimeout: 60 * time.Second, Input: json.RawMessage(`{ "a": 1.50, "b":12345678901234567890123, "c":1E400 }`)}},
	} {
		a := r.do("POST", "/execute", c.body)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", c.body, a.status, a.text)
		}
		specs := r.exec.ran()
		got := *specs[len(specs)-1]
		if job.CheckID(got.ID) != nil {
			t.Errorf("id %q", got.ID)
		}
		c.want.ID, c.want.Caller, c.want.Code, c.want.Image, c.want.Language = got.ID, "uid:1001", "1", "python", job.Python
		c.want.Filename = "main.py"
		c.want.Limits = job.Limits{Memory: 512 * job.MiB, CPU: 1, Stdout: 65536, Stderr: 65536}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.body, got, c.want)
		}
	}
	escaped := `{"code":"p\u0072int(\"\ud83d\ude00\\n\")\n"}`
	if r.do("POST", "/execute", escaped); r.exec.ran()[len(r.exec.ran())-1].Code != "print(\"😀\\n\")\n" {
		t.Errorf("code %q", r.exec.ran()[len(r.exec.ran())-1].Code)
	}
}

func TestRefusalsOfTheExecutor(t *testing.T) {
	r := newRig(t, 1001)
	for _, c := range []struct {
		err    error
		status int
		after  string
		detail string
	}{
		{&job.Refusal{Reason: job.QueueFull, Message: "Job queue is full, try again later", RetryAfter: 1500 * time.Millisecond}, 503, "2", "Job queue is full, try again later"},
		{fmt.Errorf("x: %w", &job.Refusal{Reason: job.Busy, Message: "busy", RetryAfter: time.Second}), 503, "1", "busy"},
		{&job.Refusal{Reason: job.Unready, Message: "Server is shutting down", RetryAfter: time.Second}, 503, "1", "shutting down"},
		{job.Refuse(job.TooLarge, "too much memory"), 422, "", "too much memory"},
		{errors.New("open /var/lib/tsubo/x at 10.0.0.1"), 500, "", "Execution error: the server's log has the reason"},
	} {
		r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) { return nil, c.err }
		a := r.do("POST", "/execute", `{"code":"1"}`)
		a.detail(t, c.status, c.detail)
		if got := a.header.Get("Retry-After"); got != c.after {
			t.Errorf("%v: Retry-After %q", c.err, got)
		}
	}
	r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) { panic("secret") }
	a := r.do("POST", "/execute", `{"code":"1"}`)
	a.detail(t, 500, "Internal server error")
	if strings.Contains(a.text, "secret") {
		t.Errorf("got %s", a.text)
	}
}

func TestHangUpCancels(t *testing.T) {
	r := newRig(t, 1001)
	started, ended := make(chan struct{}), make(chan struct{})
	r.exec.run = func(ctx context.Context, _ *job.Spec) (*job.Result, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}
	ctx, hangUp := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, "POST", "http://tsubo/execute", strings.NewReader(`{"code":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		a, err := r.client.Do(q)
		if err == nil {
			err = a.Body.Close()
		}
		failed <- err
	}()
	<-started
	if a := r.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("health during a run: %d", a.status)
	}
	hangUp()
	<-ended
	if err := <-failed; err == nil {
		t.Error("the request succeeded")
	}
}

func TestCommonRules(t *testing.T) {
	r := newRig(t, 1001)
	t.Run("correlation id", func(t *testing.T) {
		if a := r.do("GET", "/health", "", "X-Correlation-ID", "my own / id"); a.header.Get("X-Correlation-ID") != "my own / id" {
			t.Errorf("got %q", a.header.Get("X-Correlation-ID"))
		}
		one, two := r.do("GET", "/health", ""), r.do("GET", "/nope", "")
		if id := one.header.Get("X-Correlation-ID"); len(id) != 36 || id == two.header.Get("X-Correlation-ID") {
			t.Errorf("got %q", id)
		}
	})
	t.Run("unknown route and method", func(t *testing.T) {
		for _, path := range []string{"/nope", "/execute/", "//execute", "/x/../execute", "/%65xecute", "/EXECUTE", "/debug/pprof", "/docs/", "/docs/x", "/metrics", "/debug/vars"} {
			if a := r.do("POST", path, `{"code":"1"}`); a.status != 404 || strings.TrimSpace(a.text) != `{"detail":"Not Found"}` {
				t.Errorf("%s: %d %s", path, a.status, a.text)
			}
		}
		for path, method := range map[string]string{"/execute": "GET", "/health": "POST", "/version": "DELETE", "/images": "PUT"} {
			if a := r.do(method, path, ""); a.status != 405 || strings.TrimSpace(a.text) != `{"detail":"Method Not Allowed"}` || a.header.Get("Allow") == "" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.text)
			}
		}
	})
	t.Run("payload limit", func(t *testing.T) {
		fill := func(n int) string {
			const frame = `{"code":"1","x":""}`
			return `{"code":"1","x":"` + strings.Repeat("a", n-len(frame)) + `"}`
		}
		if a := r.do("POST", "/execute", fill(20000)); a.status != 422 {
			t.Errorf("at the limit: %d", a.status)
		}
		for _, path := range []string{"/execute", "/nope"} {
			a := r.do("POST", path, fill(20001))
			a.detail(t, 413, "Payload too large")
			if !strings.Contains(a.text, "20000") {
				t.Errorf("got %s", a.text)
			}
		}
		for _, method := range []string{"POST", "GET"} {
			q, err := http.NewRequestWithContext(t.Context(), method, "http://tsubo/health", io.MultiReader(strings.NewReader(fill(20001)))) // length unknown: chunked
			if err != nil {
				t.Fatal(err)
			}
			r.send(q).detail(t, 413, "Payload too large")
		}
	})
	t.Run("content type", func(t *testing.T) {
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense;;"} {
			if a := r.do("POST", "/execute", `{"code":"1"}`, "Content-Type", kind); a.status != 422 {
				t.Errorf("%s: %d", kind, a.status)
			}
		}
		if n := len(r.exec.ran()); n != 0 {
			t.Errorf("%d of them ran", n)
		}
		for _, kind := range []string{"application/json; charset=utf-8", "application/problem+json", ""} {
			if a := r.do("POST", "/execute", `{"code":"1"}`, "Content-Type", kind); a.status != 200 {
				t.Errorf("%q: %d", kind, a.status)
			}
		}
	})
	t.Run("malformed and unfinished requests", func(t *testing.T) {
		before := len(r.exec.ran())
		for _, raw := range []string{
			"POST /execute HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
			"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nContent-Length: 13\r\n\r\n{\"code\":\"1\"}",
			"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{\"code\":\"1\"}",
			"GET /health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
			"POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"code\":\"1\"}",
		} {
			c, err := net.Dial("unix", r.socket)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte(raw))
			_ = c.(*net.UnixConn).CloseWrite()
			answer, _ := io.ReadAll(c)
			if bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
				t.Errorf("%.40q: %.60s", raw, answer)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := len(r.exec.ran()); n != before {
			t.Errorf("%d of them ran", n-before)
		}
	})
}

func TestHealthAndVersion(t *testing.T) {
	r := newRig(t, 1001)
	const stats = `{"pending":1,"running":2,"max_workers":4,"max_queue_size":100}`
	for _, c := range []struct {
		name   string
		facts  Facts
		status int
		want   string
	}{
		{"healthy", Facts{Ready: true, GVisor: true, Breaker: job.Breaker{State: "closed"}}, 200,
			`{"status":"healthy","docker_available":false,"gvisor_available":true,"circuit_breaker":{"state":"closed","failure_count":0,"success_count":0,"last_failure":null},` +
				`"version":"1.2.3","production_mode":false,"queue_stats":` + stats + `}`},
		{"no runsc", Facts{Ready: true, Breaker: job.Breaker{State: "closed"}}, 200,
			`{"status":"degraded","docker_available":false,"gvisor_available":false,"circuit_breaker":{"state":"closed","failure_count":0,"success_count":0,"last_failure":null},` +
				`"version":"1.2.3","production_mode":false,"queue_stats":` + stats + `}`},
		{"breaker open", Facts{Ready: true, GVisor: true, Breaker: job.Breaker{State: "open", FailureCount: 5, LastFailure: ptr(job.Decimal(1.5))}}, 200,
			`{"status":"degraded","docker_available":false,"gvisor_available":true,"circuit_breaker":{"state":"open","failure_count":5,"success_count":0,"last_failure":1.5},` +
				`"version":"1.2.3","production_mode":false,"queue_stats":` + stats + `}`},
		{"starting", Facts{}, 503, `{"status":"starting","detail":"Server is not ready yet"}`},
	} {
		r.facts = c.facts
		if a := r.do("GET", "/health", ""); a.status != c.status || strings.TrimSpace(a.text) != c.want {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
		}
	}
	if a := r.do("GET", "/pool/stats", ""); strings.TrimSpace(a.text) != stats {
		t.Errorf("got %s", a.text)
	}
	if a := r.do("GET", "/version", ""); strings.TrimSpace(a.text) != `{"version":"1.2.3","extensions":["args","artifacts-inline","code-files","cpu-limit","delete-execution","enforced","environment","events","filename","files","images","keep-record","memory-limit","metadata","raw-stdout","stdin","more"]}` {
		t.Errorf("got %s", a.text)
	}
}

func TestImages(t *testing.T) {
	t.Run("roles", func(t *testing.T) {
		for _, c := range []struct {
			uid    uint32
			status int
		}{{0, 201}, {1000, 201}, {1001, 403}} {
			r := newRig(t, c.uid)
			a := r.do("POST", "/images?name=python", "archive")
			if a.status != c.status || (len(r.images.imported) == 1) != (c.status == 201) {
				t.Errorf("uid %d: %d %s, imported %v", c.uid, a.status, a.text, r.images.imported)
			}
			if c.status == 403 {
				a.detail(t, 403, "admin role")
				if r.images.bytes != 0 {
					t.Error("the body was read before the role was known")
				}
			}
			if a := r.do("GET", "/images", ""); a.status != 200 || strings.TrimSpace(a.text) != `{"items":[],"count":0}` {
				t.Errorf("uid %d: %d %s", c.uid, a.status, a.text)
			}
		}
	})
	r := newRig(t, 0)
	t.Run("names", func(t *testing.T) {
		for _, query := range []string{"", "?name=", "?name=a&name=b", "?name=..%2Fx", "?name=-x", "?name=a%00", "?name=%zz", "?name=" + strings.Repeat("a", 256), "?name=a;b", "?name=UPPER"} {
			a := r.do("POST", "/images"+query, "archive")
			list, _ := a.body["detail"].([]any)
			if a.status != 422 || len(list) != 1 {
				t.Errorf("%s: %d %s", query, a.status, a.text)
			}
		}
		if len(r.images.imported) != 0 || r.images.bytes != 0 {
			t.Errorf("imported %v", r.images.imported)
		}
	})
	t.Run("size", func(t *testing.T) {
		if a := r.do("POST", "/images?name=a", strings.Repeat("a", 5000)); a.status != 201 || r.images.bytes != 5000 {
			t.Errorf("at the limit: %d %s", a.status, a.text)
		}
		r.images.bytes = 0
		r.do("POST", "/images?name=b", strings.Repeat("a", 5001)).detail(t, 413, "Payload too large")
		if r.images.bytes != 0 {
			t.Errorf("%d bytes were read of an archive that announces too many", r.images.bytes)
		}
		q, err := http.NewRequestWithContext(t.Context(), "POST", "http://tsubo/images?name=b", io.MultiReader(strings.NewReader(strings.Repeat("a", 5001))))
		if err != nil {
			t.Fatal(err)
		}
		r.send(q).detail(t, 413, "Payload too large")
		if !slices.Equal(r.images.imported, []string{"a"}) {
			t.Errorf("imported %v", r.images.imported)
		}
	})
	t.Run("what is wrong with it", func(t *testing.T) {
		for _, c := range []struct {
			err    error
			status int
			detail string
		}{
			{job.Refuse(job.Invalid, "layer 2 is truncated"), 422, "layer 2 is truncated"},
			{job.Refuse(job.NoSpace, "no space left"), 507, "no space left"},
			{job.Refuse(job.Conflict, "in use"), 409, "in use"},
			{errors.New("open /var/lib/tsubo/images"), 500, "Import error: the server's log has the reason"},
		} {
			r.images.err = c.err
			r.do("POST", "/images?name=c", "archive").detail(t, c.status, c.detail)
		}
		r.images.err = nil
	})
	t.Run("list", func(t *testing.T) {
		r.images.list = []job.Image{{Name: "python", Digest: "sha256:x", Rootfs: "erofs", SizeBytes: 1}}
		if a := r.do("GET", "/images", ""); a.body["count"] != 1.0 || !strings.Contains(a.text, `"name":"python"`) {
			t.Errorf("got %s", a.text)
		}
	})
}

func TestConnectionWithoutIdentity(t *testing.T) {
	exec := &fakeExecutor{}
	s, err := New(Options{Version: "1", Runtime: "runsc", Policy: testPolicy(), Jobs: exec, Store: &fakeStore{}, Images: &fakeImages{}, Keys: &fakeKeys{}, Facts: func() Facts { return Facts{} }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(shortDir(t), "s")) // not from Listen
	if err != nil {
		t.Fatal(err)
	}
	server := s.HTTP()
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"code\":\"1\"}")
	answer, _ := io.ReadAll(c)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 403")) || len(exec.ran()) != 0 {
		t.Errorf("got %s", answer)
	}
	_ = c.Close()
	_ = server.Close()
	<-done
}

func TestNewChecksOptions(t *testing.T) {
	good := Options{Version: "1", Runtime: "runsc", Policy: testPolicy(), Jobs: &fakeExecutor{}, Store: &fakeStore{}, Images: &fakeImages{}, Keys: &fakeKeys{}, Facts: func() Facts { return Facts{} }}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"jobs": func(o *Options) { o.Jobs = nil }, "store": func(o *Options) { o.Store = nil }, "images": func(o *Options) { o.Images = nil }, "keys": func(o *Options) { o.Keys = nil }, "facts": func(o *Options) { o.Facts = nil },
		"version": func(o *Options) { o.Version = "" }, "runtime": func(o *Options) { o.Runtime = "" },
		"types": func(o *Options) { o.Policy.Types = nil }, "payload": func(o *Options) { o.Policy.MaxPayloadBytes = 0 },
		"timeout": func(o *Options) { o.Policy.MaxTimeout = 0 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
