package api

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
)

// Cancel kills at once, keeps partial output, frees the slot; sync runs can be cancelled by their
// id, and a caller who hangs up cancels.
func TestRulingR01Cancel(t *testing.T) {
	f := newFull(t, func(_ *Policy, o *scheduler.Options) { o.Workers = 1 })
	alice, _, _ := f.on(t)
	t.Run("running", func(t *testing.T) {
		id := alice.submit("out partial\nwait\nout never")
		alice.told(id, "stdout")
		if a := alice.do("POST", "/jobs/"+id+"/cancel", ""); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.text)
		}
		if a := alice.result(id); a.body["status"] != "cancelled" || !strings.HasPrefix(fmt.Sprint(a.body["stdout"]), "partial\n") || a.body["exit_code"] != nil {
			t.Errorf("got %s", a.text)
		}
		alice.result(alice.submit("out next")) // the one slot is free
	})
	t.Run("waiting: at once, and it never runs", func(t *testing.T) {
		first := alice.submit("wait")
		alice.until(first, "running")
		second := alice.submit("out never runs")
		alice.do("POST", "/jobs/"+second+"/cancel", "")
		if a := alice.do("GET", "/executions/"+second, ""); a.body["status"] != "cancelled" {
			t.Errorf("got %s", a.text)
		}
		alice.do("POST", "/jobs/"+first+"/cancel", "")
		alice.result(first)
		if n := f.runner.ran("out never runs"); n != 0 {
			t.Errorf("%d ran", n)
		}
	})
	t.Run("sync, by its id", func(t *testing.T) {
		next, _ := alice.watch(alice.request("POST", "/execute", body("wait"), "Accept", "text/event-stream"))
		id, _ := next().data["execution_id"].(string)
		alice.until(id, "running")
		alice.do("POST", "/jobs/"+id+"/cancel", "").ok(t)
		events, _, _, last := story(next)
		if last.event != "result" || last.data["status"] != "cancelled" || last.data["success"] != false {
			t.Errorf("%v, %v", events, last)
		}
	})
	t.Run("sync, by hanging up", func(t *testing.T) {
		ctx, hangUp := context.WithCancel(t.Context())
		next, answer := alice.watch(alice.request("POST", "/execute", body("wait\nout x"), "Accept", "text/event-stream").WithContext(ctx))
		id, _ := next().data["execution_id"].(string)
		alice.until(id, "running")
		hangUp()
		_ = answer.Body.Close()
		if a := alice.until(id, "cancelled"); a.status != 200 {
			t.Errorf("got %s", a.text)
		}
	})
}

func (a reply) ok(t *testing.T) {
	t.Helper()
	if a.status != 200 {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

// Rerun and fork carry everything over; whatever was accepted can be run again once it has ended.
func TestRulingR03RerunAndFork(t *testing.T) {
	f := newFull(t, func(p *Policy, o *scheduler.Options) {
		o.Workers = 1
		d := p.Types["default"]
		d.AllowEnvironment = []string{"A"}
		p.Types["default"] = d
	})
	alice, _, _ := f.on(t)
	again := func(t *testing.T, id, verb, with string) reply {
		t.Helper()
		a := alice.do("POST", "/jobs/"+id+"/"+verb, with)
		child, _ := a.body["job_id"].(string)
		if a.status != 200 {
			t.Fatalf("%s of %s: %d %s", verb, id, a.status, a.text)
		}
		return alice.result(child)
	}
	t.Run("carries over", func(t *testing.T) {
		id := alice.submit("spec", "timeout", 11, "startup_timeout", 22, "input_data", map[string]any{"a": 1}, "stdin", "in", "args", []string{"x"}, "files", map[string]any{"f": "1", "g": "2"},
			"filename", "app.py", "code_files", map[string]any{"pack/m.py": "M"},
			"memory_limit", "100m", "cpu_limit", 0.5, "environment", map[string]any{"A": "b"}, "metadata", map[string]any{"l": "v"})
		first := alice.result(id)
		for verb, with := range map[string]string{"rerun": "{}", "fork": `{"code":"spec"}`} {
			if a := again(t, id, verb, with); !reflect.DeepEqual(a.body["output"], first.body["output"]) || !reflect.DeepEqual(a.body["metadata"], first.body["metadata"]) {
				t.Errorf("%s: %v, the parent had %v", verb, a.body["output"], first.body["output"])
			}
		}
		if o, _ := again(t, id, "rerun", `{"timeout":12}`).body["output"].(map[string]any); o["timeout"] != 12.0 || o["startup"] != 22.0 {
			t.Errorf("got %v", o)
		}
		// A parent that named no job type has default_timeout, and so has its child.
		id = alice.submit("spec")
		alice.result(id)
		if o, _ := again(t, id, "rerun", `{}`).body["output"].(map[string]any); o["timeout"] != 25.0 {
			t.Errorf("got %v", o)
		}
	})
	t.Run("of a sync run", func(t *testing.T) {
		a := alice.do("POST", "/execute", body("out sync"))
		if b := again(t, fmt.Sprint(a.body["execution_id"]), "rerun", "{}"); b.body["stdout"] != "sync\n" {
			t.Errorf("got %s", b.text)
		}
	})
	t.Run("of a refused run", func(t *testing.T) {
		id := alice.submit("out x", "requirements", []string{"numpy"})
		if a := alice.result(id); a.body["status"] != "failed" || !strings.Contains(a.text, "installation is disabled") {
			t.Errorf("got %s", a.text)
		}
		if a := again(t, id, "rerun", "{}"); !strings.Contains(a.text, "installation is disabled") {
			t.Errorf("the requirements are not carried: %s", a.text)
		}
	})
	t.Run("of a job that was cancelled before it started", func(t *testing.T) {
		first := alice.submit("wait")
		alice.until(first, "running")
		id := alice.submit("out was cancelled")
		alice.do("POST", "/jobs/"+id+"/cancel", "").ok(t)
		alice.do("POST", "/jobs/"+first+"/cancel", "").ok(t)
		if a := again(t, id, "rerun", "{}"); a.body["stdout"] != "was cancelled\n" {
			t.Errorf("got %s", a.text)
		}
	})
	t.Run("of an unfinished parent", func(t *testing.T) {
		id := alice.submit("wait")
		alice.do("POST", "/jobs/"+id+"/fork", body("x")).detail(t, 400, "Cannot fork job that hasn't completed")
		alice.do("POST", "/jobs/"+id+"/rerun", "{}").detail(t, 400, "Cannot rerun job that hasn't completed")
		alice.do("POST", "/jobs/"+id+"/cancel", "").ok(t)
	})
}

// Caps count bytes: of UTF-8 for code, of the JSON text as sent for input_data.
func TestRulingR05Caps(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"code at the cap", body("#" + strings.Repeat("a", 999)), 200},
		{"code over it", body("#" + strings.Repeat("a", 1000)), 422},
		{"code over it in bytes only", body("#" + strings.Repeat("é", 500)), 422},
		{"input at the cap", `{"code":"x","input_data":{"a":"` + strings.Repeat("a", 1992) + `"}}`, 200},
		{"input over it", `{"code":"x","input_data":{"a":"` + strings.Repeat("a", 1993) + `"}}`, 422},
		{"input over it by white space", `{"code":"x","input_data":{` + strings.Repeat(" ", 1999) + `}}`, 422},
		{"input under it, though not in Python's ASCII form", `{"code":"x","input_data":{"a":"` + strings.Repeat("é", 900) + `"}}`, 200},
	} {
		for _, path := range []string{"/execute", "/execute/async"} {
			if a := alice.do("POST", path, c.body); a.status != c.status {
				t.Errorf("%s on %s: %d %.300s", c.name, path, a.status, a.text)
			}
		}
	}
}

func TestRulingR06UnknownJobType(t *testing.T) {
	for _, production := range []bool{false, true} {
		f := newFull(t, func(p *Policy, _ *scheduler.Options) { p.ProductionMode = production })
		alice, _, _ := f.on(t)
		parent := alice.submit("x")
		alice.result(parent)
		for path, with := range map[string]string{
			"/execute": `{"code":"x","job_type":"ml-inference"}`, "/execute/async": `{"code":"x","job_type":"ml-inference@latest"}`,
			"/jobs/" + parent + "/rerun": `{"job_type":"ml-inference"}`, "/jobs/" + parent + "/fork": `{"code":"x","job_type":"ml-inference"}`,
		} {
			a := alice.do("POST", path, with)
			a.detail(t, 404, "Job type 'ml-inference' not found")
		}
	}
}

func TestRulingR08Artifacts(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	id := alice.submit("file a.txt 0123456789\nfile page.html <script>\nfile d.JSON {}\nfile i.png x\nfile i.svg <svg/>\nfile t.csv 1\nfile p.pdf x\nfile r\x22\\é.txt x\nfile empty.txt \nfile long.bin " + strings.Repeat("x", 500))
	record := alice.result(id)
	path := "/jobs/" + id + "/artifacts/"
	etag := `"` + hash([]byte("0123456789")) + `"`
	for _, c := range []struct {
		name   string
		header []string
		status int
		text   string
		want   map[string]string
	}{
		{"whole", nil, 200, "0123456789", map[string]string{"Accept-Ranges": "bytes", "Content-Length": "10"}},
		{"range", []string{"Range", "bytes=2-4"}, 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		{"open range", []string{"Range", "bytes=7-"}, 206, "789", nil},
		{"suffix", []string{"Range", "bytes=-2"}, 206, "89", nil},
		{"range past the end", []string{"Range", "bytes=8-99"}, 206, "89", nil},
		{"range outside", []string{"Range", "bytes=10-"}, 416, "", map[string]string{"Content-Type": "application/json", "ETag": "", "Content-Disposition": "", "Content-Range": "bytes */10"}},
		{"nonsense", []string{"Range", "bytes=x"}, 416, "", nil},
		{"other unit", []string{"Range", "lines=1-2"}, 416, "", nil},
		{"has it", []string{"If-None-Match", etag}, 304, "", map[string]string{"ETag": etag}},
		{"has it, weakly", []string{"If-None-Match", "W/" + etag}, 304, "", nil},
		{"has any", []string{"If-None-Match", "*"}, 304, "", nil},
		{"has another", []string{"If-None-Match", `"x"`}, 200, "0123456789", nil},
		{"range of what it has", []string{"Range", "bytes=0-0", "If-Range", etag}, 206, "0", nil},
		{"range of another", []string{"Range", "bytes=0-0", "If-Range", `"x"`}, 200, "0123456789", nil},
		{"must be another", []string{"If-Match", `"x"`}, 412, "", map[string]string{"Content-Type": "application/json"}},
	} {
		a := alice.raw("GET", path+"a.txt", "", c.header...)
		if a.status != c.status || a.status < 400 && a.text != c.text {
			t.Errorf("%s: %d %q", c.name, a.status, a.text)
		}
		if a.status >= 400 && !strings.Contains(a.text, `"correlation_id"`) {
			t.Errorf("%s: %s", c.name, a.text)
		}
		for k, v := range c.want {
			if a.header.Get(k) != v {
				t.Errorf("%s: %s is %q", c.name, k, a.header.Get(k))
			}
		}
		h := alice.raw("HEAD", path+"a.txt", "", c.header...)
		if want := map[int]int{206: 200, 416: 200}[c.status]; h.status != max(want, c.status*btoi(want == 0)) {
			t.Errorf("%s: HEAD %d", c.name, h.status)
		}
	}
	// A range of many parts is not worth its answer: the whole is.
	for n, status := range map[int]int{8: 206, 9: 200} {
		if a := alice.raw("GET", path+"long.bin", "", "Range", "bytes=0-0"+strings.Repeat(",2-2", n-1)); a.status != status {
			t.Errorf("%d ranges: %d", n, a.status)
		}
	}
	two := alice.raw("GET", path+"a.txt", "", "Range", "bytes=0-1,4-5")
	if two.status != 206 || !strings.HasPrefix(two.header.Get("Content-Type"), "multipart/byteranges") || strings.Count(two.text, "Content-Type: text/plain") != 2 {
		t.Errorf("two ranges: %d %v %q", two.status, two.header, two.text)
	}
	kinds := map[string]string{}
	for _, a := range record.body["artifacts"].([]any) { //nolint:forcetypeassert // the contract says so
		m, _ := a.(map[string]any)
		kinds[fmt.Sprint(m["name"])] = fmt.Sprint(m["content_type"])
	}
	for name, want := range map[string]string{
		"a.txt": "text/plain", "page.html": "application/octet-stream", "d.JSON": "application/json", "i.png": "image/png", "i.svg": "application/octet-stream",
		"t.csv": "text/csv", "p.pdf": "application/pdf", "r%22%5C%C3%A9.txt": "text/plain", "empty.txt": "text/plain",
	} {
		a := alice.raw("GET", path+name, "")
		if a.status != 200 || a.header.Get("Content-Type") != want || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment; filename=\"") {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		if !strings.Contains(name, "%") && kinds[name] != want {
			t.Errorf("%s in the record: %s", name, kinds[name])
		}
	}
	if a := alice.raw("GET", path+"r%22%5C%C3%A9.txt", ""); a.header.Get("Content-Disposition") != `attachment; filename="r___.txt"; filename*=UTF-8''r%22%5C%C3%A9.txt` {
		t.Errorf("got %q", a.header.Get("Content-Disposition"))
	}
}

func TestRulingR10InvalidRequirement(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	for _, bad := range []string{"", "git+https://x/y", "pkg @ url", "pkg; python_version<'3'", "pkg[", "pkg[,", "pkg>=,1.0", "a b", "-r x", "a\nb", "a`b", "a$b", `a\b`, "a#b", "a&&b", "a||b", "a/b", strings.Repeat("a", 257)} {
		for _, path := range []string{"/execute", "/execute/async"} {
			a := alice.do("POST", path, body("x", "requirements", []string{"numpy", bad}))
			list, _ := a.body["detail"].([]any)
			if a.status != 422 || len(list) != 1 {
				t.Errorf("%q: %d %s", bad, a.status, a.text)
				continue
			}
			first, _ := list[0].(map[string]any)
			if !reflect.DeepEqual(first["loc"], []any{"body", "requirements", 1.0}) || bad != "" && len(bad) < 64 && first["input"] != bad {
				t.Errorf("%q: %v", bad, first)
			}
		}
	}
}

// A sync caller waits for a slot at most startup_timeout; the wait counts against nothing.
func TestRulingR11OneAdmission(t *testing.T) {
	f := newFull(t, func(p *Policy, o *scheduler.Options) { o.Workers, p.DefaultStartupTimeout = 1, 50*time.Millisecond })
	alice, _, _ := f.on(t)
	id := alice.submit("wait")
	alice.until(id, "running")
	a := alice.do("POST", "/execute", body("out x"))
	a.detail(t, 503, "No slot came free within startup_timeout")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	waiting := alice.submit("out waited")
	f.goOn()
	if a := alice.result(waiting); a.body["stdout"] != "waited\n" {
		t.Errorf("got %s", a.text)
	}
}

func TestRulingR13JSON(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	for _, c := range []struct {
		body string
		kind string
	}{
		{`{"code":"x","code":"y"}`, "duplicate_key"}, {`{"Code":"x"}`, "missing"}, {`{"code":"x"}{}`, "json_invalid"}, {`{"code":"x","timeout":"5"}`, "int_type"},
		{`{"code":"x","timeout":true}`, "int_type"}, {`{"code":"x","timeout":5.5}`, "int_from_float"}, {`{"code":"x","keep_record":1}`, "bool_type"},
		{`{"code":"x","keep_record":"true"}`, "bool_type"}, {`{"code":"x","cpu_limit":"1"}`, "float_type"}, {`{"code":"x","cpu_limit":true}`, "float_type"},
		{`{"code":"x","input_data":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100) + "}", "json_invalid"},
	} {
		if a := alice.do("POST", "/execute", c.body); a.status != 422 || !strings.Contains(a.text, `"type":"`+c.kind+`"`) {
			t.Errorf("%.60s: %d %s", c.body, a.status, a.text)
		}
	}
	for _, five := range []string{"5", "5.0", "50e-1"} {
		if a := alice.do("POST", "/execute", `{"code":"spec","timeout":`+five+`}`); !strings.Contains(a.text, `"timeout":5`) {
			t.Errorf("%s: %s", five, a.text)
		}
	}
	a := alice.do("POST", "/execute", `{"code":"spec","input_data":{"a":1.50,"b":12345678901234567890123,"c":1E400}}`)
	if !strings.Contains(a.text, `"input":"{\"a\":1.50,\"b\":12345678901234567890123,\"c\":1E400}"`) {
		t.Errorf("got %s", a.text)
	}
	for _, output := range []string{`[1,2]`, `"text"`, `3.50`, `true`} {
		if a := alice.do("POST", "/execute", body("result "+output)); !strings.Contains(a.text, `"output":`+output) {
			t.Errorf("%s: %s", output, a.text)
		}
		id := alice.submit("result " + output)
		if a := alice.result(id); !strings.Contains(a.text, `"output":`+output) {
			t.Errorf("%s: %s", output, a.text)
		}
	}
}

// Another's job looks exactly like none; an admin sees everybody's; idempotency keys are per
// caller.
func TestRulingR16Tenants(t *testing.T) {
	f := newFull(t)
	alice, bob, admin := f.on(t)
	id := alice.submit("file a.txt secret\nout secret", "idempotency_key", "shared-key", "metadata", map[string]any{"team": "red"})
	alice.result(id)
	running := alice.submit("wait")
	alice.until(running, "running")
	const none = "01234567-89ab-4def-8123-456789abcdef"
	for _, c := range [][2]string{
		{"GET", "/jobs/ID"}, {"GET", "/jobs/ID/result"}, {"GET", "/jobs/ID/result?wait=true&timeout=1"}, {"GET", "/jobs/ID/events"}, {"POST", "/jobs/ID/cancel"},
		{"POST", "/jobs/ID/rerun"}, {"POST", "/jobs/ID/fork"}, {"GET", "/jobs/ID/artifacts/a.txt"}, {"HEAD", "/jobs/ID/artifacts/a.txt"}, {"GET", "/executions/ID"},
		{"GET", "/executions/ID?view=full"}, {"DELETE", "/executions/ID"},
	} {
		method, path := c[0], c[1]
		with := map[string]string{"/jobs/ID/rerun": "{}", "/jobs/ID/fork": body("x")}[path]
		want := bob.exchange(bob.request(method, strings.Replace(path, "ID", none, 1), with, "X-Correlation-ID", "c"))
		for _, theirs := range []string{id, running} {
			got := bob.exchange(bob.request(method, strings.Replace(path, "ID", theirs, 1), with, "X-Correlation-ID", "c"))
			got.header.Del("Date")
			want.header.Del("Date")
			if got.status != 404 || got.status != want.status || got.text != want.text || !reflect.DeepEqual(got.header, want.header) {
				t.Errorf("%s %s: %d %s %v; a random id gets %d %s %v", method, path, got.status, got.text, got.header, want.status, want.text, want.header)
			}
		}
	}
	// The store has no record of a synchronous run while it goes on, and it is its caller's all the
	// same (ruling 29).
	ctx, hangUp := context.WithCancel(t.Context())
	next, _ := alice.watch(alice.request("POST", "/execute", body("wait"), "Accept", "text/event-stream").WithContext(ctx))
	sync := fmt.Sprint(next().data["execution_id"])
	for _, c := range [][2]string{{"GET", ""}, {"GET", "/result"}, {"GET", "/events"}, {"POST", "/cancel"}, {"POST", "/rerun"}} {
		if a := bob.do(c[0], "/jobs/"+sync+c[1], map[string]string{"/rerun": "{}"}[c[1]]); a.status != 404 {
			t.Errorf("%s %s of a sync run: %d %s", c[0], c[1], a.status, a.text)
		}
	}
	for _, path := range []string{"/jobs/" + sync + "/result", "/executions/" + sync} {
		if a := alice.do("GET", path, ""); a.status != 200 || a.body["status"] != "running" {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
		if a := bob.do("GET", path, ""); a.status != 404 {
			t.Errorf("%s of another caller: %d %s", path, a.status, a.text)
		}
	}
	alice.do("DELETE", "/executions/"+sync, "").detail(t, 409, "hasn't completed")
	alice.do("POST", "/jobs/"+sync+"/rerun", "{}").detail(t, 400, "Cannot rerun job that hasn't completed")
	hangUp()
	alice.until(sync, "cancelled")
	for _, query := range []string{"", "?status=succeeded", "?label=team=red", "?job_type=default&view=full"} {
		if a := bob.do("GET", "/executions"+query, ""); a.body["count"] != 0.0 {
			t.Errorf("%s: %s", query, a.text)
		}
		if a := admin.do("GET", "/executions"+query, ""); a.body["count"] == 0.0 {
			t.Errorf("admin, %s: %s", query, a.text)
		}
	}
	if other := bob.submit("out mine", "idempotency_key", "shared-key"); other == id {
		t.Error("one idempotency key for two callers")
	}
	if a := admin.do("GET", "/jobs/"+id, ""); a.status != 200 {
		t.Errorf("admin: %d", a.status)
	}
	if a := admin.raw("GET", "/jobs/"+id+"/artifacts/a.txt", ""); a.text != "secret" {
		t.Errorf("admin: %d %s", a.status, a.text)
	}
	if a := admin.do("POST", "/jobs/"+running+"/cancel", ""); a.status != 200 {
		t.Errorf("admin: %d", a.status)
	}
	alice.result(running)
	// Still alice's after all that.
	if a := alice.do("GET", "/executions", ""); a.body["count"] != 3.0 {
		t.Errorf("got %s", a.text)
	}
}

// Output is text with U+FFFD for what is none; the bytes are an artifact when they are asked for.
func TestRulingR19RawStdout(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	for asked, status := range map[any]int{true: 200, false: 404, nil: 404} {
		id := alice.submit("out é", "raw_stdout", asked)
		alice.result(id)
		a := alice.raw("GET", "/jobs/"+id+"/artifacts/"+job.RawStdoutName, "")
		if a.status != status || status == 200 && (a.text != "é\n" || a.header.Get("Content-Type") != "application/octet-stream") {
			t.Errorf("raw_stdout %v: %d %q %v", asked, a.status, a.text, a.header)
		}
	}
}

func TestRulingR20More(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	id := alice.submit("file a.txt abc", "idempotency_key", "deleted-key")
	alice.result(id)
	running := alice.submit("wait")
	alice.until(running, "running")
	alice.do("DELETE", "/executions/"+running, "").detail(t, 409, "hasn't completed")
	alice.do("POST", "/jobs/"+running+"/cancel", "").ok(t)
	if a := alice.raw("DELETE", "/executions/"+id, ""); a.status != 204 || a.text != "" {
		t.Errorf("got %d %s", a.status, a.text)
	}
	for _, path := range []string{"/executions/" + id, "/jobs/" + id, "/jobs/" + id + "/result", "/jobs/" + id + "/events", "/jobs/" + id + "/artifacts/a.txt"} {
		if a := alice.do("GET", path, ""); a.status != 404 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	alice.do("POST", "/jobs/"+id+"/rerun", "{}").detail(t, 404, jobNotFound)
	alice.do("DELETE", "/executions/"+id, "").detail(t, 404, executionNotFound)
	if again := alice.submit("file a.txt abc", "idempotency_key", "deleted-key"); again == id {
		t.Error("the key outlives its record")
	}
	if a := alice.do("GET", "/version", ""); a.body["version"] != "1.2.3" || a.body["extensions"] == nil {
		t.Errorf("got %s", a.text)
	}
}

func TestRulingR21NoSessions(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	for _, path := range []string{"/sessions", "/sessions/x", "/sessions/x/send", "/sessions/x/events", "/sessions/x/terminate"} {
		for _, method := range []string{"GET", "POST"} {
			if a := alice.do(method, path, "{}"); a.status != 404 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
}

// What tsubo adds to a request arrives as it was sent, and is refused when it breaks its rule,
// never clamped.
func TestAdditiveFields(t *testing.T) {
	f := newFull(t, func(p *Policy, _ *scheduler.Options) {
		d := p.Types["default"]
		d.AllowEnvironment, d.Environment = []string{"A"}, map[string]string{"T": "type"}
		p.MaxPayloadBytes = 1 << 20
		p.Types["default"] = d
	})
	alice, _, _ := f.on(t)
	a := alice.do("POST", "/execute", `{"code":"spec","stdin":{"base64":"aGk="},"args":["-a","b c",""],"files":{"x.txt":"text","b":{"base64":"AP8="}},
		"filename":"app.py","code_files":{"pack/__init__.py":"","helper.py":"X = 1"},
		"memory_limit":"100M","cpu_limit":0.25,"environment":{"A":"b c"},"metadata":{"a/b.c-d_e":"v"}}`)
	want := map[string]any{
		"args": []any{"-a", "b c", ""}, "stdin": "hi", "files": 2.0, "filename": "app.py", "code_files": "pack/__init__.py=,helper.py=X = 1,", "environment": map[string]any{"A": "b c", "T": "type"}, "memory": float64(100 * job.MiB), "cpu": 0.25,
		"timeout": 25.0, "startup": 60.0, "input": "{}",
	}
	if !reflect.DeepEqual(a.body["output"], want) {
		t.Errorf("got %s", a.text)
	}
	f.runner.mu.Lock()
	files := f.runner.specs[0].Files
	f.runner.mu.Unlock()
	if len(files) != 2 || files[0].Name != "x.txt" || string(files[0].Data) != "text" || string(files[1].Data) != "\x00\xff" {
		t.Errorf("files %q", files)
	}
	t.Run("labels are kept and filter", func(t *testing.T) {
		for i, color := range []string{"red", "red", "blue"} {
			alice.result(alice.submit("x", "metadata", map[string]any{"color": color, "n": fmt.Sprint(i)}))
		}
		for query, n := range map[string]float64{
			"label=color=red": 2, "label=color=blue": 1, "label=color=red&label=n=1": 1, "label=color=red&label=n=2": 0, "label=nope=x": 0, "label=color=": 0,
			"label=color=%25": 0, "label=color=r_d": 0, "label=color=red'+OR+'1'='1": 0,
		} {
			if a := alice.do("GET", "/executions?"+query, ""); a.body["count"] != n {
				t.Errorf("%s: %s", query, a.text)
			}
		}
		for _, query := range []string{"label=x", "label==x", "label=a+b=x", "label=a=1&label=a=2", strings.Repeat("label=a=1&", 17)} {
			if a := alice.do("GET", "/executions?"+query, ""); a.status != 422 {
				t.Errorf("%s: %d", query, a.status)
			}
		}
		if a := alice.do("GET", "/executions?label=color=blue&view=full", ""); !strings.Contains(a.text, `"metadata":{"color":"blue","n":"2"}`) {
			t.Errorf("got %s", a.text)
		}
	})
	t.Run("keep_record false", func(t *testing.T) {
		a := alice.do("POST", "/execute", body("out x", "keep_record", false))
		id := fmt.Sprint(a.body["execution_id"])
		if a.body["stdout"] != "x\n" {
			t.Errorf("got %s", a.text)
		}
		alice.do("GET", "/executions/"+id, "").detail(t, 404, executionNotFound)
	})
	for _, c := range []struct{ name, body, loc string }{
		{"keep_record false, async", `{"code":"x","keep_record":false}`, "body keep_record"},
		{"inline, async", `{"code":"x","artifacts":"inline"}`, "body artifacts"},
		{"stdin number", `{"code":"x","stdin":1}`, "body stdin"},
		{"stdin, bad base64", `{"code":"x","stdin":{"base64":"a"}}`, "body stdin base64"},
		{"stdin, base64 with a line break", `{"code":"x","stdin":{"base64":"aGk=\n"}}`, "body stdin base64"},
		{"stdin, base64 with bits left over", `{"code":"x","stdin":{"base64":"aGl="}}`, "body stdin base64"},
		{"args over the total", body("x", "args", slices.Repeat([]string{strings.Repeat("a", 4096)}, 32)), "body args"},
		{"environment over the total", body("x", "environment", map[string]any{"A": strings.Repeat("a", 32768), "B": strings.Repeat("a", 32768), "C": strings.Repeat("a", 32768), "D": strings.Repeat("a", 32768)}), "body args"},
		{"args too many", body("x", "args", slices.Repeat([]string{"a"}, 257)), "body args"},
		{"arg too long", body("x", "args", []string{strings.Repeat("a", 4097)}), "body args 0"},
		{"arg with NUL", body("x", "args", []string{"a\x00"}), "body args 0"},
		{"files too many", `{"code":"x","files":{` + many(257) + `}}`, "body files"},
		{"file over data.json", `{"code":"x","files":{"data.json":"{}"}}`, "body files data.json"},
		{"file below data.json", `{"code":"x","files":{"data.json/a":"{}"}}`, "body files data.json/a"},
		{"file below a file", `{"code":"x","files":{"a/b":"","a":""}}`, "body files a/b"},
		{"code files too many", `{"code":"x","code_files":{` + many(257) + `}}`, "body code_files"},
		{"code file number", `{"code":"x","code_files":{"a":1}}`, "body code_files a"},
		{"code file that goes up", `{"code":"x","code_files":{"a/../b":""}}`, "body code_files a/../b"},
		{"filename with a folder", `{"code":"x","filename":"a/b.py"}`, "body filename"},
		{"filename empty", `{"code":"x","filename":""}`, "body filename"},
		{"file over the requirements", `{"code":"x","files":{"_requirements.txt":""}}`, "body files _requirements.txt"},
		{"stdin, other key", `{"code":"x","stdin":{"base64":"","x":1}}`, "body stdin x"},
		{"stdin, no key", `{"code":"x","stdin":{}}`, "body stdin base64"},
		{"files list", `{"code":"x","files":[]}`, "body files"},
		{"file number", `{"code":"x","files":{"a":1}}`, "body files a"},
		{"metadata number", `{"code":"x","metadata":{"a":1}}`, "body metadata a"},
		{"metadata name", `{"code":"x","metadata":{"a b":"x"}}`, "body metadata a b"},
		{"metadata value", `{"code":"x","metadata":{"a":"` + strings.Repeat("é", 257) + `"}}`, "body metadata a"},
		{"metadata control", `{"code":"x","metadata":{"a":"\u001b[0m"}}`, "body metadata a"},
		{"metadata many", `{"code":"x","metadata":{` + many(17) + `}}`, "body metadata"},
		{"environment many", `{"code":"x","environment":{` + many(65) + `}}`, "body environment"},
	} {
		a := alice.do("POST", "/execute/async", c.body)
		list, _ := a.body["detail"].([]any)
		if a.status != 422 || len(list) != 1 {
			t.Errorf("%s: %d %s", c.name, a.status, a.text)
			continue
		}
		first, _ := list[0].(map[string]any)
		if loc := strings.Trim(fmt.Sprint(first["loc"]), "[]"); loc != c.loc {
			t.Errorf("%s: %s", c.name, loc)
		}
	}
	a = alice.do("POST", "/execute/async", `{"code":"x","environment":{"T":"mine"}}`)
	a.detail(t, 422, "environment: job type 'default' does not let a request set T")
	a = alice.do("POST", "/execute/async", body("x", "filename", "app.js"))
	a.detail(t, 422, "filename: app.js must end with .py for job type 'default' (python)")
	a = alice.do("POST", "/execute/async", body("x", "code_files", map[string]any{"main.py/x": ""}))
	a.detail(t, 422, "code_files: main.py/x is where the program itself lies; rename the file, or the program with filename")
	a = alice.do("POST", "/execute/async", body("x", "memory_limit", "513m"))
	a.detail(t, 422, "memory_limit must be less than or equal to what job type 'default' allows (512 MiB)")
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func many(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"K%d":"v"`, i))
	}
	return strings.Join(all, ",")
}

// A synchronous run that has its sandbox is listed, found by its id and cancelled by whoever may,
// though the store has nothing of it.
func TestRulingR29RunningSync(t *testing.T) {
	f := newFull(t, func(_ *Policy, o *scheduler.Options) { o.Workers = 2 })
	alice, bob, admin := f.on(t)
	old := alice.submit("out old")
	alice.result(old)
	next, _ := alice.watch(alice.request("POST", "/execute", body("wait", "metadata", map[string]any{"l": "v"}), "Accept", "text/event-stream"))
	id, _ := next().data["execution_id"].(string)
	alice.until(id, "running")
	queued := alice.submit("wait")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // in the store, too
		if a := alice.do("GET", "/executions/"+queued, ""); a.body["status"] == "running" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the job does not run")
		}
	}
	ids := func(c *rig, query string) (all []string) {
		t.Helper()
		a := c.do("GET", "/executions?"+query, "")
		items, _ := a.body["items"].([]any)
		for _, item := range items {
			all = append(all, fmt.Sprint(item.(map[string]any)["execution_id"]))
		}
		if n, _ := a.body["count"].(float64); int(n) != len(all) {
			t.Errorf("%s: count %v of %d", query, a.body["count"], len(all))
		}
		return all
	}
	for query, want := range map[string][]string{
		"": {queued, id, old}, "status=running": {queued, id}, "label=l=v": {id}, "label=l=w": nil, "limit=1": {queued}, "limit=1&offset=1": {id}, "limit=1&offset=2": {old},
		"limit=2&offset=1": {id, old}, "offset=3": nil, "job_type=default": {queued, id, old}, "status=succeeded": {old}, "job_type=other": nil,
	} {
		if got := ids(alice, query); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
		if got := ids(bob, query); len(got) != 0 {
			t.Errorf("another caller sees %v", got)
		}
	}
	if a := alice.do("GET", "/executions?limit=2", ""); a.body["has_more"] != true {
		t.Errorf("got %s", a.text)
	}
	if a := alice.do("GET", "/executions?limit=3", ""); a.body["has_more"] != false {
		t.Errorf("got %s", a.text)
	}
	if got := ids(admin, "status=running"); !slices.Equal(got, []string{queued, id}) {
		t.Errorf("an admin sees %v", got)
	}
	for _, path := range []string{"/executions/" + id, "/jobs/" + id + "/result"} {
		if a := alice.do("GET", path, ""); a.status != 200 || a.body["status"] != "running" || a.body["started_at"] == nil || a.body["ended_at"] != nil {
			t.Errorf("%s: %s", path, a.text)
		}
		if a := bob.do("GET", path, ""); a.status != 404 {
			t.Errorf("%s of another caller: %s", path, a.text)
		}
	}
	alice.do("DELETE", "/executions/"+id, "").detail(t, 409, "hasn't completed")
	if a := bob.do("POST", "/jobs/"+id+"/cancel", ""); a.status != 404 {
		t.Errorf("another caller cancels: %s", a.text)
	}
	admin.do("POST", "/jobs/"+id+"/cancel", "").ok(t)
	_, _, _, last := story(next)
	if last.event != "result" || last.data["status"] != "cancelled" {
		t.Errorf("%v", last)
	}
	if got := ids(alice, ""); !slices.Equal(got, []string{queued, id, old}) {
		t.Errorf("afterwards %v", got)
	}
}
