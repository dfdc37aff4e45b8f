package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
)

// rule is one rule of wire.md that no ruling replaces, shown on the surface over the real scheduler
// and store.
type rule struct {
	section, says string
	show          func(t *testing.T, f *full)
}

func (f *full) on(t *testing.T) (alice, bob, admin *rig) {
	a, b, c := *f.alice, *f.bob, *f.admin
	a.t, b.t, c.t = t, t, t
	return &a, &b, &c
}

// get is a rule that one request shows.
func ask(section, says, method, path, body string, status int, contains ...string) rule {
	return rule{section, says, func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		alice.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		a := alice.exchange(alice.request(method, path, body))
		if a.status != status {
			t.Errorf("%s %s: %d %s", method, path, a.status, a.text)
		}
		for _, c := range contains {
			if !strings.Contains(a.text, c) {
				t.Errorf("%s %s: %s does not have %s", method, path, a.text, c)
			}
		}
	}}
}

const (
	slimKeys = "created_at duration_ms ended_at error execution_id exit_code job_type job_version output runtime started_at status stderr stdout timing"
	fullKeys = "artifacts artifacts_note artifacts_skipped code_hash created_at duration_ms ended_at enforced error execution_id exit_code idempotency_key " +
		"input_artifacts input_hash job_ref job_type job_version metadata output output_error parent_execution_id relationship resource_usage runtime started_at status stderr " +
		"stderr_truncated stdout stdout_truncated timing"
	queued  = `"status":"queued"`
	maxText = "timeout must be less than or equal to the configured max_timeout (300 seconds)"
)

var isoRE = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00$`)

var wireRules = []rule{
	// 1.0
	ask("1.0", "GET / redirects to /docs", "GET", "/", "", 307),
	ask("1.0", "/docs is served", "GET", "/docs", "", 200, "<html"),
	ask("1.0", "/redoc is served", "GET", "/redoc", "", 200, "<html"),
	ask("1.0", "/openapi.json is served", "GET", "/openapi.json", "", 200, `"openapi"`),
	ask("1.0", "/docs/oauth2-redirect is not there", "GET", "/docs/oauth2-redirect", "", 404, `{"detail":"Not Found"}`),
	ask("1.0", "an unknown route is 404 without correlation_id", "GET", "/nope", "", 404, `{"detail":"Not Found"}`),
	ask("1.0", "a wrong method is 405 without correlation_id", "PUT", "/execute", "", 405, `{"detail":"Method Not Allowed"}`),
	ask("1.0", "malformed JSON is 422 json_invalid", "POST", "/execute", "{", 422, `"type":"json_invalid"`, `"loc":["body",1]`),
	ask("1.0", "a missing body is 422 missing", "POST", "/execute", "", 422, `"type":"missing"`, `"loc":["body"]`),
	ask("1.0", "unknown keys are refused, in every body", "POST", "/execute/async", `{"code":"x","nope":1}`, 422, `"type":"extra_forbidden"`),
	ask("1.0", "a bad query is 422 with loc query", "GET", "/executions?limit=x", "", 422, `"loc":["query","limit"]`),
	ask("1.0", "a bad path is 422 with loc path", "GET", "/nope", "", 404),
	{"1.0", "every answer has the four headers and no CORS", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		for _, path := range []string{"/health", "/nope", "/executions", "/docs"} { // exchange asserts them
			alice.raw("GET", path, "")
		}
		alice.raw("POST", "/execute", "{", "Origin", "https://evil.example")
	}},
	{"1.0", "the correlation id is echoed, else a UUID; error bodies have it", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("GET", "/jobs/x", "", "X-Correlation-ID", "mine")
		if a.header.Get("X-Correlation-ID") != "mine" || a.body["correlation_id"] != "mine" {
			t.Errorf("got %v %s", a.header, a.text)
		}
		if id := alice.do("GET", "/jobs/x", "").header.Get("X-Correlation-ID"); len(id) != 36 {
			t.Errorf("got %q", id)
		}
	}},
	{"1.0", "413 over the cap, also on GET; exactly at it is allowed", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		alice.do("GET", "/health", strings.Repeat("a", 20001)).detail(t, 413, "Payload too large: the limit is 20000 bytes")
		if a := alice.do("GET", "/health", strings.Repeat("a", 20000)); a.status != 200 {
			t.Errorf("got %d", a.status)
		}
	}},
	{"1.0", "time stamps are isoformat with +00:00", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.result(alice.submit("out x"))
		for _, key := range []string{"created_at", "started_at", "ended_at"} {
			if s, _ := a.body[key].(string); !isoRE.MatchString(s) {
				t.Errorf("%s: %q", key, s)
			}
		}
	}},
	// 1.1
	ask("1.1", "code is required", "POST", "/execute", `{}`, 422, `"loc":["body","code"]`, `"type":"missing"`),
	ask("1.1", "code is not blank", "POST", "/execute", `{"code":" \n"}`, 422, `"loc":["body","code"]`),
	ask("1.1", "input_data is an object", "POST", "/execute", `{"code":"x","input_data":[]}`, 422, `"type":"dict_type"`),
	ask("1.1", "timeout is at least 1", "POST", "/execute", `{"code":"x","timeout":0}`, 422, `"type":"greater_than_equal"`),
	ask("1.1", "timeout is at most 86400 in the schema", "POST", "/execute", `{"code":"x","timeout":86401}`, 422, `"type":"less_than_equal"`),
	ask("1.1", "timeout is at most max_timeout, with this sentence", "POST", "/execute", `{"code":"x","timeout":301}`, 422, `"detail":"`+maxText+`"`),
	ask("1.1", "the ceiling is checked before the job type", "POST", "/execute/async", `{"code":"x","timeout":301,"job_type":"nope"}`, 422, `"detail":"`+maxText+`"`),
	ask("1.1", "the job type's own timeout is bounded, too", "POST", "/execute", `{"code":"x","job_type":"slow"}`, 422, `"detail":"effective `+maxText+`"`),
	ask("1.1", "startup_timeout is 10 to 600: low", "POST", "/execute", `{"code":"x","startup_timeout":9}`, 422, `"type":"greater_than_equal"`),
	ask("1.1", "startup_timeout is 10 to 600: high", "POST", "/execute", `{"code":"x","startup_timeout":601}`, 422, `"type":"less_than_equal"`),
	ask("1.1", "job_type has its pattern", "POST", "/execute", `{"code":"x","job_type":"a b"}`, 422, `"type":"string_pattern_mismatch"`),
	ask("1.1", "job_type has at most 128 characters", "POST", "/execute", `{"code":"x","job_type":"`+strings.Repeat("a", 129)+`"}`, 422, `"type":"string_too_long"`),
	ask("1.1", "idempotency_key has at least 8 characters", "POST", "/execute", `{"code":"x","idempotency_key":"1234567"}`, 422, `"type":"string_too_short"`),
	ask("1.1", "idempotency_key has at most 255 characters", "POST", "/execute/async", `{"code":"x","idempotency_key":"`+strings.Repeat("a", 256)+`"}`, 422, `"type":"string_too_long"`),
	ask("1.1", "idempotency_key has its pattern", "POST", "/execute/async", `{"code":"x","idempotency_key":"1234567.8"}`, 422, `"type":"string_pattern_mismatch"`),
	ask("1.1", "requirements are at most 50", "POST", "/execute", `{"code":"x","requirements":[`+strings.Repeat(`"a",`, 50)+`"a"]}`, 422, `"type":"too_long"`),
	ask("1.1", "nullable fields take null", "POST", "/execute", `{"code":"x","timeout":null,"startup_timeout":null,"job_type":null,"idempotency_key":null,"requirements":null}`, 200, `"success":true`),
	ask("1.1", "a sync run takes an idempotency key and ignores it", "POST", "/execute", `{"code":"x","idempotency_key":"12345678"}`, 200, `"success":true`),
	ask("1.1", "a failed program is 200 with success false", "POST", "/execute", `{"code":"exit 3"}`, 200, `"success":false`, `"exit_code":3`, `"error":"Exit code 3"`),
	{"1.1", "without a job type default_timeout holds; with default its own", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("POST", "/execute", body("spec"))
		b := alice.do("POST", "/execute", body("spec", "job_type", "default"))
		if !strings.Contains(a.text, `"timeout":25`) || !strings.Contains(b.text, `"timeout":30`) {
			t.Errorf("got %s and %s", a.text, b.text)
		}
	}},
	{"1.1", "the run leaves a record under its execution_id", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("POST", "/execute", body("out hi\nfile a.txt abc"))
		id, _ := a.body["execution_id"].(string)
		if !strings.HasPrefix(id, "api-") || len(id) != 40 {
			t.Fatalf("id %q", id)
		}
		for _, path := range []string{"/executions/" + id, "/jobs/" + id, "/jobs/" + id + "/result", "/jobs/" + id + "/artifacts/a.txt"} {
			if b := alice.raw("GET", path, ""); b.status != 200 {
				t.Errorf("%s: %d %s", path, b.status, b.text)
			}
		}
	}},
	{"1.1", "/health answers while a run is in progress", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("wait")
		alice.until(id, "running")
		if a := alice.do("GET", "/health", ""); a.status != 200 {
			t.Errorf("got %d", a.status)
		}
		alice.do("POST", "/jobs/"+id+"/cancel", "")
	}},
	// 1.2
	{"1.2", "200 with a UUID and queued", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("POST", "/execute/async", body("x"))
		if id, _ := a.body["job_id"].(string); a.status != 200 || len(id) != 36 || keys(a.body) != "job_id status" || a.body["status"] != "queued" {
			t.Errorf("got %d %s", a.status, a.text)
		}
	}},
	{"1.2", "the same key and payload give the same job with its status", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("out same", "idempotency_key", "same-key-1", "input_data", map[string]any{"b": 1, "a": 2})
		alice.result(id)
		a := alice.do("POST", "/execute/async", `{"input_data" : { "b":1, "a":2 }, "code":"out same","idempotency_key":"same-key-1","job_type":"default","requirements":[]}`)
		if a.status != 200 || a.body["job_id"] != id || a.body["status"] != "succeeded" {
			t.Errorf("got %d %s, want %s", a.status, a.text, id)
		}
	}},
	{"1.2", "the same key and another payload are 409", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		alice.submit("out one", "idempotency_key", "conflict-1")
		for _, other := range []string{
			body("out two", "idempotency_key", "conflict-1"), body("out one", "idempotency_key", "conflict-1", "timeout", 5),
			body("out one", "idempotency_key", "conflict-1", "startup_timeout", 20), body("out one", "idempotency_key", "conflict-1", "job_type", "short"),
			body("out one", "idempotency_key", "conflict-1", "requirements", []string{"a"}), body("out one", "idempotency_key", "conflict-1", "input_data", map[string]any{"a": 1}),
			body("out one", "idempotency_key", "conflict-1", "stdin", "x"), body("out one", "idempotency_key", "conflict-1", "args", []string{"x"}),
			body("out one", "idempotency_key", "conflict-1", "files", map[string]any{"a": "x"}), body("out one", "idempotency_key", "conflict-1", "metadata", map[string]any{"a": "x"}),
			body("out one", "idempotency_key", "conflict-1", "memory_limit", "100m"), body("out one", "idempotency_key", "conflict-1", "cpu_limit", 0.5),
		} {
			a := alice.do("POST", "/execute/async", other)
			a.detail(t, 409, "Idempotency key reused with different payload")
			if len(a.body) != 2 {
				t.Errorf("got %s", a.text)
			}
		}
	}},
	{"1.2", "many at once under one key make one job", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		ids := make(chan string, 10) // the queue holds as many
		for range cap(ids) {
			go func() {
				a := alice.do("POST", "/execute/async", body("out raced", "idempotency_key", "race-key-1"))
				id, _ := a.body["job_id"].(string)
				ids <- id
			}()
		}
		first := <-ids
		for range cap(ids) - 1 {
			if id := <-ids; id != first {
				t.Errorf("got %q beside %q", id, first)
			}
		}
		alice.result(first)
		if n := f.runner.ran("out raced"); n != 1 {
			t.Errorf("%d ran", n)
		}
	}},
	// 1.3
	{"1.3", "the keys of a status; pending with its place, running, ended with its time", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		var ids []string
		for range 6 {
			ids = append(ids, alice.submit("wait"))
		}
		for _, id := range ids[:4] {
			alice.until(id, "running")
		}
		for i, id := range ids[4:] {
			a := alice.do("GET", "/jobs/"+id, "")
			if a.body["status"] != "pending" || a.body["queue_position"] != float64(i+1) || a.body["duration_ms"] != nil || keys(a.body) != "created_at duration_ms job_id queue_position status" {
				t.Errorf("got %s", a.text)
			}
		}
		for _, id := range ids {
			alice.do("POST", "/jobs/"+id+"/cancel", "")
			alice.result(id)
		}
		id := alice.submit("out x")
		alice.result(id)
		if a := alice.do("GET", "/jobs/"+id, ""); a.body["status"] != "succeeded" || a.body["duration_ms"] == nil || a.body["queue_position"] != nil {
			t.Errorf("got %s", a.text)
		}
	}},
	ask("1.3", "an unknown job is 404", "GET", "/jobs/nope", "", 404, `"detail":"Job not found"`),
	// 1.4
	ask("1.4", "timeout is 1 to 300 also without wait: low", "GET", "/jobs/nope/result?timeout=0.5", "", 422, `"loc":["query","timeout"]`),
	ask("1.4", "timeout is 1 to 300 also without wait: high", "GET", "/jobs/nope/result?timeout=300.5", "", 422, `"loc":["query","timeout"]`),
	ask("1.4", "timeout is a number", "GET", "/jobs/nope/result?timeout=nan", "", 422, `"type":"float_parsing"`),
	ask("1.4", "and in decimal", "GET", "/jobs/nope/result?timeout=0x1p4", "", 422, `"type":"float_parsing"`),
	ask("1.4", "wait is a bool", "GET", "/jobs/nope/result?wait=maybe", "", 422, `"type":"bool_parsing"`),
	ask("1.4", "an unknown job is 404", "GET", "/jobs/nope/result", "", 404, `"detail":"Job not found"`),
	ask("1.4", "an unknown job is 404 also with wait", "GET", "/jobs/nope/result?wait=true", "", 404, `"detail":"Job not found"`),
	{"1.4", "without wait the record as it is; wait ends with 408 and harms nobody; the words of a bool", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("wait")
		alice.told(id, "started")
		for _, no := range []string{"", "?wait=false", "?wait=0", "?wait=no", "?wait=off", "?wait=f", "?wait=N"} {
			if a := alice.do("GET", "/jobs/"+id+"/result"+no, ""); a.status != 200 || a.body["status"] != "running" || keys(a.body) != slimKeys || a.body["runtime"] != nil {
				t.Errorf("%s: %d %s", no, a.status, a.text)
			}
		}
		other := make(chan reply, 1)
		go func() { other <- alice.do("GET", "/jobs/"+id+"/result?wait=Yes&timeout=60", "") }()
		alice.do("GET", "/jobs/"+id+"/result?wait=TRUE&timeout=1", "").detail(t, 408, "Timeout waiting for job")
		f.runner.release <- struct{}{}
		if a := <-other; a.status != 200 || a.body["status"] != "succeeded" {
			t.Errorf("the other waiter got %d %s", a.status, a.text)
		}
		for _, yes := range []string{"true", "1", "on", "t", "y"} {
			if a := alice.do("GET", "/jobs/"+id+"/result?wait="+yes, ""); a.status != 200 || a.body["status"] != "succeeded" {
				t.Errorf("%s: %d %s", yes, a.status, a.text)
			}
		}
	}},
	{"1.4", "the keys of a record, slim and full, and what null means", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("out o\nerr e\nresult {\"n\": 1.50}\nfile a.txt abc", "input_data", map[string]any{"b": []int{1}, "a": "é"})
		full := alice.result(id)
		if keys(full.body) != fullKeys {
			t.Errorf("full: %s", keys(full.body))
		}
		slim := alice.do("GET", "/jobs/"+id+"/result?view=other", "")
		if keys(slim.body) != slimKeys {
			t.Errorf("slim: %s", keys(slim.body))
		}
		for k, v := range slim.body {
			if !reflect.DeepEqual(full.body[k], v) {
				t.Errorf("%s differs", k)
			}
		}
		for k, want := range map[string]any{
			"job_type": "default", "job_version": "default@latest", "job_ref": "default@latest", "stdout": "o\n", "stderr": "e\n", "error": nil, "exit_code": 0.0, "runtime": "runsc",
			"parent_execution_id": nil, "relationship": nil, "idempotency_key": nil, "stdout_truncated": false, "stderr_truncated": false,
			"code_hash":  hash([]byte("out o\nerr e\nresult {\"n\": 1.50}\nfile a.txt abc")),
			"input_hash": hash([]byte(`{"a":"é","b":[1]}`)),
			"timing":     map[string]any{"startup_ms": 7.0, "dep_install_ms": nil, "execution_ms": 7.0, "total_ms": 7.0, "phase_at_exit": "completed"},
			"artifacts":  []any{map[string]any{"name": "a.txt", "size_bytes": 3.0, "sha256": hash([]byte("abc")), "content_type": "text/plain"}},
		} {
			if !reflect.DeepEqual(full.body[k], want) {
				t.Errorf("%s is %v, want %v", k, full.body[k], want)
			}
		}
		if strings.Contains(full.text, "storage") {
			t.Errorf("got %s", full.text)
		}
	}},
	{"1.4", "an error is an object in a record", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.result(alice.submit("exit 3"))
		if want := map[string]any{"type": "runtime_error", "message": "Exit code 3", "phase": nil}; !reflect.DeepEqual(a.body["error"], want) || a.body["status"] != "failed" {
			t.Errorf("got %s", a.text)
		}
	}},
	// 1.5
	ask("1.5", "cancel of an unknown job is 404", "POST", "/jobs/nope/cancel", "", 404, `"detail":"Job not found or already completed"`),
	{"1.5", "cancel of an ended job is 404; a body is ignored", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("x")
		alice.result(id)
		alice.do("POST", "/jobs/"+id+"/cancel", "not JSON").detail(t, 404, "Job not found or already completed")
	}},
	// 1.6, 1.7
	ask("1.6", "a rerun needs a body", "POST", "/jobs/nope/rerun", "", 422, `"type":"missing"`, `"loc":["body"]`),
	ask("1.6", "no other keys", "POST", "/jobs/nope/rerun", `{"code":"x"}`, 422, `"type":"extra_forbidden"`),
	ask("1.6", "the ceiling comes before the parent", "POST", "/jobs/nope/rerun", `{"timeout":301}`, 422, `"detail":"`+maxText+`"`),
	ask("1.6", "an unknown parent is 404", "POST", "/jobs/nope/rerun", `{}`, 404, `"detail":"Job not found"`),
	ask("1.7", "a fork needs code", "POST", "/jobs/nope/fork", `{}`, 422, `"loc":["body","code"]`),
	ask("1.7", "and not blank code", "POST", "/jobs/nope/fork", `{"code":" "}`, 422, `"loc":["body","code"]`),
	ask("1.7", "the ceiling comes before the parent", "POST", "/jobs/nope/fork", `{"code":"x","timeout":301}`, 422, `"detail":"`+maxText+`"`),
	ask("1.7", "an unknown parent is 404", "POST", "/jobs/nope/fork", `{"code":"x"}`, 404, `"detail":"Job not found"`),
	{"1.6", "an unfinished parent is 400", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("wait")
		alice.do("POST", "/jobs/"+id+"/rerun", "{}").detail(t, 400, "Cannot rerun job that hasn't completed")
		alice.do("POST", "/jobs/"+id+"/cancel", "")
	}},
	{"1.6", "a rerun runs the parent's code with its input, and says whose child it is", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		parent := alice.submit("spec", "input_data", json.RawMessage(`{"n": 1.50}`), "idempotency_key", "rerun-parent")
		first := alice.result(parent)
		a := alice.do("POST", "/jobs/"+parent+"/rerun", `{"timeout":9,"job_type":"short"}`)
		child, _ := a.body["job_id"].(string)
		if a.status != 200 || keys(a.body) != "job_id status" || a.body["status"] != "queued" || child == parent {
			t.Fatalf("got %d %s", a.status, a.text)
		}
		b := alice.result(child)
		if b.body["parent_execution_id"] != parent || b.body["relationship"] != "rerun" || b.body["job_type"] != "short" || b.body["code_hash"] != first.body["code_hash"] ||
			b.body["idempotency_key"] != nil || !strings.Contains(b.text, `"input":"{\"n\":1.50}"`) && !strings.Contains(b.text, `"input":"{\"n\": 1.50}"`) || !strings.Contains(b.text, `"timeout":9`) {
			t.Errorf("got %s", b.text)
		}
		if a, b := first.header.Get("X-Correlation-ID"), b.header.Get("X-Correlation-ID"); a == b {
			t.Error("one correlation id for both")
		}
	}},
	{"1.7", "a fork runs new code with the parent's input", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		parent := alice.submit("x", "input_data", map[string]any{"n": 1})
		first := alice.result(parent)
		a := alice.do("POST", "/jobs/"+parent+"/fork", body("spec"))
		b := alice.result(a.body["job_id"].(string)) //nolint:forcetypeassert // result fails for what is none
		if b.body["relationship"] != "fork" || b.body["parent_execution_id"] != parent || b.body["input_hash"] != first.body["input_hash"] || b.body["code_hash"] == first.body["code_hash"] {
			t.Errorf("got %s", b.text)
		}
	}},
	// 1.8
	ask("1.8", "an artifact of an unknown job is 404", "GET", "/jobs/nope/artifacts/a", "", 404, `"detail":"Job not found"`),
	{"1.8", "bytes, length, type, disposition, ETag; HEAD from the manifest", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("file data.bin abcdef")
		alice.result(id)
		path := "/jobs/" + id + "/artifacts/"
		a := alice.raw("GET", path+"data.bin", "")
		etag := `"` + hash([]byte("abcdef")) + `"`
		if a.status != 200 || a.text != "abcdef" || a.header.Get("Content-Length") != "6" || a.header.Get("Content-Type") != "application/octet-stream" ||
			a.header.Get("Content-Disposition") != `attachment; filename="data.bin"` || a.header.Get("ETag") != etag || a.header.Get("Last-Modified") == "" {
			t.Errorf("got %d %v %q", a.status, a.header, a.text)
		}
		h := alice.raw("HEAD", path+"data.bin", "")
		if h.status != 200 || h.text != "" || h.header.Get("Content-Length") != "6" || h.header.Get("Content-Type") != "application/octet-stream" || h.header.Get("ETag") != etag {
			t.Errorf("got %d %v %q", h.status, h.header, h.text)
		}
		alice.do("GET", path+"nope", "").detail(t, 404, "Artifact not found")
		for _, name := range []string{"..%2F..%2Fetc%2Fpasswd", "%2e%2e", "data.bin%00", "_code.py"} {
			if b := alice.raw("GET", path+name, ""); b.status != 404 {
				t.Errorf("%s: %d", name, b.status)
			}
		}
		if b := alice.raw("GET", path+"data.bin/", ""); b.status != 404 {
			t.Errorf("with a slash: %d", b.status)
		}
	}},
	// 1.9
	ask("1.9", "limit is 1 to 1000: low", "GET", "/executions?limit=0", "", 422, `"type":"greater_than_equal"`),
	ask("1.9", "limit is 1 to 1000: high", "GET", "/executions?limit=1001", "", 422, `"type":"less_than_equal"`),
	ask("1.9", "offset is at least 0", "GET", "/executions?offset=-1", "", 422, `"type":"greater_than_equal"`),
	ask("1.9", "any word is a status; an unknown one gives none", "GET", "/executions?status=nonsense", "", 200, `{"items":[],"limit":100,"offset":0,"has_more":false,"count":0}`),
	ask("1.9", "an unknown execution is 404", "GET", "/executions/nope", "", 404, `"detail":"Execution not found"`),
	{"1.9", "pages, newest first, by status and job type, slim and full", func(t *testing.T, f *full) {
		_, bob, _ := f.on(t)
		var ids []string
		for i := range 5 {
			id := bob.submit(fmt.Sprintf("exit %d", i%2), "job_type", "short")
			bob.result(id)
			ids = append(ids, id)
		}
		var got []string
		for offset := 0; ; offset += 2 {
			a := bob.do("GET", fmt.Sprintf("/executions?limit=2&offset=%d&job_type=short", offset), "")
			items, _ := a.body["items"].([]any)
			for _, item := range items {
				m, _ := item.(map[string]any)
				if keys(m) != slimKeys {
					t.Errorf("keys %s", keys(m))
				}
				got = append([]string{m["execution_id"].(string)}, got...) //nolint:forcetypeassert // the contract says so
			}
			if a.body["limit"] != 2.0 || a.body["offset"] != float64(offset) || a.body["count"] != float64(len(items)) || keys(a.body) != "count has_more items limit offset" {
				t.Errorf("got %s", a.text)
			}
			if a.body["has_more"] != true {
				break
			}
		}
		if !reflect.DeepEqual(got, ids) {
			t.Errorf("got %v, want %v", got, ids)
		}
		if a := bob.do("GET", "/executions?status=failed&job_type=short&view=full", ""); a.body["count"] != 5.0 || !strings.Contains(a.text, `"code_hash"`) {
			t.Errorf("got %s", a.text)
		}
		if a := bob.do("GET", "/executions/"+ids[0]+"?view=full", ""); keys(a.body) != fullKeys {
			t.Errorf("got %s", a.text)
		}
	}},
	// 1.10
	ask("1.10", "the list of job types has default", "GET", "/job-types", "", 200, `"name":"default"`),
	{"1.10", "the keys of a job type; timeout is a whole number", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("GET", "/job-types/default", "")
		if !strings.HasPrefix(a.text, `{"name":"default","requirements":[],"python_version":"3.11","memory_limit":"512m","cpu_limit":1.0,"timeout":30,`+
			`"session_enabled":false,"gpu_enabled":false,"gpu_vendor":null,"image_exists":true,"language":"python","command":null,"workdir":null,"image":"python",`) {
			t.Errorf("got %s", a.text)
		}
		if a := alice.do("GET", "/job-types/packages", ""); a.body["image_exists"] != false || !reflect.DeepEqual(a.body["requirements"], []any{"numpy"}) {
			t.Errorf("got %s", a.text)
		}
	}},
	ask("1.10", "an unknown job type is 404", "GET", "/job-types/nope", "", 404, `"detail":"Job type 'nope' not found"`),
	ask("1.10", "a version is not taken off here", "GET", "/job-types/default@latest", "", 404, `"detail":"Job type 'default@latest' not found"`),
	{"1.10", "build of an unknown type is 404, and of a known one 501 for now", func(t *testing.T, f *full) {
		_, _, admin := f.on(t)
		admin.do("POST", "/job-types/nope/build", "").detail(t, 404, "Job type 'nope' not found")
		admin.do("POST", "/job-types/default/build?version_tag=v1", "").detail(t, 501, "Builds are not there yet")
	}},
	// 1.11
	{"1.11", "pool stats, and the same in /health", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		a := alice.do("GET", "/pool/stats", "")
		if keys(a.body) != "max_queue_size max_workers pending running" || a.body["max_workers"] != 4.0 || a.body["max_queue_size"] != 10.0 {
			t.Errorf("got %s", a.text)
		}
		h := alice.do("GET", "/health", "")
		stats, _ := h.body["queue_stats"].(map[string]any)
		if keys(h.body) != "circuit_breaker docker_available gvisor_available production_mode queue_stats status version" || keys(stats) != keys(a.body) || h.body["docker_available"] != false {
			t.Errorf("got %s", h.text)
		}
	}},
	{"1.11", "what waits for jobs has a route of its own, since the keys of pool stats are upstream's", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		if a := alice.do("GET", "/pool/sandboxes", ""); keys(a.body) != "booting cold hot hot_waiting waiting_bytes warm warm_waiting" {
			t.Errorf("got %s", a.text)
		}
	}},
	{"1.11", "the dead letter queue: stats, page, removal", func(t *testing.T, f *full) {
		_, _, admin := f.on(t)
		for i := range 3 {
			d := &job.DeadLetter{JobID: fmt.Sprint("j", i), Caller: "uid:1001", Summary: json.RawMessage(`{"job_type":"default"}`), ErrorType: "internal_error",
				ErrorMessage: "boom in /home/alice/x", RetryCount: 1, CreatedAt: time.Now().Add(time.Duration(i) * time.Second)}
			if err := f.store.Dead(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if a := admin.do("GET", "/dlq/stats", ""); strings.TrimSpace(a.text) != `{"total":3,"by_error_type":{"internal_error":3}}` {
			t.Errorf("got %s", a.text)
		}
		a := admin.do("GET", "/dlq?limit=2&error_type=internal_error", "")
		items, _ := a.body["items"].([]any)
		if len(items) != 2 || a.body["has_more"] != true {
			t.Fatalf("got %s", a.text)
		}
		first, _ := items[0].(map[string]any)
		if keys(first) != "client_ip correlation_id created_at error_message error_type id job_data job_id retry_count" || first["job_id"] != "j2" || first["client_ip"] != nil ||
			first["error_message"] != "boom in /home/***/x" {
			t.Errorf("got %v", first)
		}
		path := fmt.Sprintf("/dlq/%v", first["id"])
		if a := admin.do("DELETE", path, ""); a.status != 200 || a.body["status"] != "removed" || a.body["entry_id"] != first["id"] {
			t.Errorf("got %d %s", a.status, a.text)
		}
		admin.do("DELETE", path, "").detail(t, 404, "DLQ entry not found")
		if a := admin.do("DELETE", "/dlq/x", ""); a.status != 422 || !strings.Contains(a.text, `"loc":["path","entry_id"]`) {
			t.Errorf("got %d %s", a.status, a.text)
		}
		if a := admin.do("GET", "/dlq?limit=0", ""); a.status != 422 {
			t.Errorf("got %d %s", a.status, a.text)
		}
	}},
	// 2
	{"2.2", "the record is there as soon as the job is accepted", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("wait")
		if a := alice.do("GET", "/executions/"+id, ""); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.text)
		}
		alice.do("POST", "/jobs/"+id+"/cancel", "")
	}},
	{"2.3", "cancel, then result with wait gives cancelled with 200", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("wait")
		if a := alice.do("POST", "/jobs/"+id+"/cancel", ""); a.status != 200 || a.body["status"] != "cancelled" || a.body["job_id"] != id || len(a.body) != 2 {
			t.Errorf("got %d %s", a.status, a.text)
		}
		a := alice.result(id)
		e, _ := a.body["error"].(map[string]any)
		if a.body["status"] != "cancelled" || a.body["exit_code"] != nil || e["type"] != "cancelled" || e["message"] != "Execution was cancelled by user" {
			t.Errorf("got %s", a.text)
		}
	}},
	{"2.5", "a record that has ended stays as it is", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		id := alice.submit("out x")
		before := alice.result(id)
		alice.do("POST", "/jobs/"+id+"/cancel", "")
		if after := alice.result(id); after.text != before.text {
			t.Errorf("got %s", after.text)
		}
	}},
	// 3: what happens inside a sandbox is shown by the packages sandbox and guest, and by
	// tests/system and tests/conformance; these are the rules that are functions.
	{"3", "output over its cap ends with the notice, within the cap, at a character's end", func(t *testing.T, _ *full) {
		text, cut := job.Text([]byte(strings.Repeat("é", 600)), 1200, 1024)
		if !cut || len(text) > 1024 || !strings.HasSuffix(text, "é\n\n[TRUNCATED: output exceeded 1024 bytes]") {
			t.Errorf("%v %q", cut, text)
		}
		if text, cut := job.Text([]byte(strings.Repeat("a", 1024)), 1024, 1024); cut || len(text) != 1024 {
			t.Errorf("at the cap: %v, %d bytes", cut, len(text))
		}
		if text, _ := job.Text([]byte(strings.Repeat("a", 100)), 100, 10); text != "\n\n[TRUNCATED: output exceeded 10 bytes]" {
			t.Errorf("a cap smaller than the notice: %q", text)
		}
	}},
	{"3", "what is no JSON in result.json is null, and the run has succeeded all the same", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		for _, text := range []string{"", "nope", "{", "NaN", "\xff"} {
			if value, fault := job.ParseOutput([]byte(text)); value != nil || fault == "" {
				t.Errorf("%q is a result", text)
			}
		}
		if a := alice.do("POST", "/execute", body("result nope")); a.body["output"] != nil || a.body["success"] != true {
			t.Errorf("got %s", a.text)
		}
	}},
	{"3.1", "the types of Python's exceptions", func(t *testing.T, _ *full) {
		for line, want := range map[string]job.ErrorType{
			"PermissionError: [Errno 13] x": "permission", "SyntaxError: invalid syntax": "syntax_error", "IndentationError: x": "syntax_error", "ModuleNotFoundError: No module": "import_error",
			"TypeError: x": "type_error", "ValueError: x": "value_error", "KeyError: 'x'": "key_error", "IndexError: x": "index_error", "AttributeError: x": "attribute_error",
			"NameError: x": "name_error", "FileNotFoundError: x": "file_not_found", "IsADirectoryError: x": "file_error", "NotADirectoryError: x": "file_error", "OSError: x": "os_error",
			"RecursionError: x": "recursion_error", "AssertionError": "assertion_error", "ZeroDivisionError: division by zero": "division_error", "OverflowError: x": "overflow_error",
			"UnicodeDecodeError: x": "encoding_error", "json.decoder.JSONDecodeError: x": "json_error", "ConnectionRefusedError: x": "network_error", "TimeoutError: x": "network_timeout",
			"my.Error: x": "runtime_error",
		} {
			v := job.Classify(job.Facts{ExitCode: 1, Phase: job.PhaseExecution, Stderr: []byte("Traceback (most recent call last):\n  File \"x\", line 1, in <module>\n" + line + "\n")})
			if v.Status != job.Failed || *v.ExitCode != 1 || v.Error.Type != want || v.Error.Message != line || *v.Error.Phase != job.PhaseExecution {
				t.Errorf("%s: %+v %+v", line, v, v.Error)
			}
		}
	}},
	{"3.1", "the types of deaths by signal", func(t *testing.T, _ *full) {
		for signal, want := range map[syscall.Signal]job.ErrorType{
			syscall.SIGTERM: "cancelled", syscall.SIGSEGV: "segfault", syscall.SIGABRT: "abort", syscall.SIGFPE: "arithmetic_error", syscall.SIGBUS: "bus_error", syscall.SIGPIPE: "pipe_error",
			syscall.SIGKILL: "killed",
		} {
			if v := job.Classify(job.Facts{Signal: signal}); v.Error.Type != want || *v.ExitCode != 128+int(signal) || v.Error.Message != fmt.Sprintf("Exit code %d", 128+int(signal)) {
				t.Errorf("%v: %+v %+v", signal, v, v.Error)
			}
		}
	}},
	{"3.1", "exit 0 is succeeded without an error", func(t *testing.T, _ *full) {
		if v := job.Classify(job.Facts{}); v.Status != job.Succeeded || *v.ExitCode != 0 || v.Error != nil {
			t.Errorf("got %+v", v)
		}
	}},
	// 4 is shown by package config, key by key.
	// 5
	{"5.1", "ids are 1 to 64 of [A-Za-z0-9._-] without a dot in front; nothing else is looked up", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		for _, id := range []string{".x", strings.Repeat("a", 65), "a%20b", "%2e%2e%2fx", "a%00", "é", "*", "'%3B%20DROP%20TABLE%20records%3B--"} {
			if a := alice.do("GET", "/executions/"+id, ""); a.status != 404 {
				t.Errorf("%s: %d %s", id, a.status, a.text)
			}
		}
	}},
	ask("5.2", "a requirement with a URL is 422", "POST", "/execute", `{"code":"x","requirements":["pkg@https://x"]}`, 422, `"loc":["body","requirements",0]`),
	ask("5.2", "a requirement may have extras and bounds", "POST", "/execute", `{"code":"x","requirements":["pkg[one,two]!=1.0,>=0.9"]}`, 200, `"exit_code":-1`),
	ask("5.3", "requirements while they are off: 200, success false, -1", "POST", "/execute", `{"code":"x","requirements":["numpy"]}`, 200, `"success":false`, `"exit_code":-1`,
		"Runtime dependency installation is disabled", `"runtime":"runsc"`),
	ask("5.3", "a job type with requirements and no image fails the same way", "POST", "/execute", `{"code":"x","job_type":"packages"}`, 200, `"success":false`, `"exit_code":-1`,
		"Runtime dependency installation is disabled", `"job_type":"packages"`),
	ask("5.4", "a variable's name has its rule", "POST", "/execute", `{"code":"x","environment":{"A-B":"x"}}`, 422, `"loc":["body","environment","A-B"]`),
	ask("5.4", "a variable's value has its rule", "POST", "/execute", `{"code":"x","environment":{"A":"$x"}}`, 422, `"loc":["body","environment","A"]`),
	{"5.7", "names of files: each part not empty, no separator, at most 255 bytes", func(t *testing.T, f *full) {
		alice, _, _ := f.on(t)
		for _, name := range []string{"", ".", "..", "1/2/3/4/5/6/7/8/9", `a\\b`, "../x", "/etc/x", "a\x00b", strings.Repeat("a", 256)} {
			if a := alice.do("POST", "/execute", body("x", "files", map[string]any{name: "x"})); a.status != 422 || !strings.Contains(a.text, `"loc":["body","files",`) {
				t.Errorf("%.20q: %d %s", name, a.status, a.text)
			}
		}
	}},
	ask("5.6", "paths, addresses and ids in a detail are masked", "GET", "/job-types/0123456789ab", "", 404, `"detail":"Job type '<container-id>' not found"`),
}

func TestWireRules(t *testing.T) {
	f := newFull(t)
	for _, r := range wireRules {
		t.Run(r.section+" "+r.says, func(t *testing.T) { r.show(t, f) })
	}
}

// 1.2, ruling 2: a full queue is 503 with Retry-After, leaves no record, and does not burn the key.
func TestRulingR02QueueFull(t *testing.T) {
	f := newFull(t, func(_ *Policy, o *scheduler.Options) { o.Workers, o.Queue = 1, 2 })
	alice, _, admin := f.on(t)
	alice.until(alice.submit("wait"), "running")
	for range 2 {
		alice.submit("wait")
	}
	const key = `{"code":"out late","idempotency_key":"late-key-1"}`
	a := alice.do("POST", "/execute/async", key)
	a.detail(t, 503, "Job queue is full, try again later")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := alice.do("GET", "/executions", ""); a.body["count"] != 3.0 {
		t.Errorf("records: %s", a.text)
	}
	sync := alice.do("POST", "/execute", body("out late"))
	sync.detail(t, 503, "Job queue is full, try again later")
	f.goOn()
	id := ""
	for deadline := time.Now().Add(30 * time.Second); id == "" && time.Now().Before(deadline); {
		if a = alice.do("POST", "/execute/async", key); a.status == 200 {
			id, _ = a.body["job_id"].(string)
		}
	}
	if got := alice.result(id); got.body["stdout"] != "late\n" || got.body["idempotency_key"] != "late-key-1" {
		t.Errorf("got %s", got.text)
	}
	if a := admin.do("GET", "/dlq/stats", ""); a.body["total"] != 0.0 {
		t.Errorf("got %s", a.text)
	}
}
