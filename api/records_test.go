package api

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Ids that no job can have are not looked up: what the store would say to them does not matter.
func TestOnlyIDsAreLookedUp(t *testing.T) {
	r := newRig(t, 1001)
	for _, id := range []string{".x", "a b", strings.Repeat("a", 65)} {
		r.store.put(&job.Record{ID: id, Caller: "uid:1001", Status: job.Succeeded}, nil)
		if a := r.do("GET", "/executions/"+strings.ReplaceAll(id, " ", "%20"), ""); a.status != 404 {
			t.Errorf("%q: %d", id, a.status)
		}
	}
}

func TestRecordsAreSanitised(t *testing.T) {
	r := newRig(t, 1001)
	secret := "no such file: /home/alice/x at 10.1.2.3"
	record := &job.Record{ID: "j", Caller: "uid:1001", Status: job.Failed, Error: &job.Error{Type: job.TypeRuntime, Message: secret}, Stdout: secret}
	r.store.put(record, nil)
	a := r.do("GET", "/executions/j", "")
	e, _ := a.body["error"].(map[string]any)
	if e["message"] != "no such file: /home/***/x at ***.***.***.***" || a.body["stdout"] != secret || record.Error.Message != secret {
		t.Errorf("got %s", a.text)
	}
}

// An artifact whose bytes are not what its manifest says is not there.
func TestArtifactsThatAreWrong(t *testing.T) {
	r := newRig(t, 1001)
	digest := hash([]byte("abc"))
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("abcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.store.put(&job.Record{ID: "j", Caller: "uid:1001", Status: job.Succeeded, EndedAt: time.Unix(1, 0), Artifacts: []job.ArtifactRef{{Name: "a", Size: 3, SHA256: digest}}}, nil)
	for range 2 {
		r.do("GET", "/jobs/j/artifacts/a", "").detail(t, 404, "Artifact file not found")
		if h := r.raw("HEAD", "/jobs/j/artifacts/a", ""); h.status != 200 || h.header.Get("Content-Length") != "3" {
			t.Errorf("HEAD: %d %v", h.status, h.header)
		}
		r.store.files = map[string]string{digest: path}
	}
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if a := r.raw("GET", "/jobs/j/artifacts/a", ""); a.status != 200 || a.text != "abc" {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

// A page of much text is sent piece by piece; one that breaks in the middle never looks whole.
func TestLargePage(t *testing.T) {
	r := newRig(t, 1001)
	for i := range 50 {
		r.store.put(&job.Record{ID: fmt.Sprintf("j%02d", i), Caller: "uid:1001", Status: job.Succeeded, Stdout: strings.Repeat("é", 20000)}, nil)
	}
	a := r.do("GET", "/executions?limit=40", "")
	items, _ := a.body["items"].([]any)
	if a.status != 200 || len(items) != 40 || a.body["count"] != 40.0 || a.body["has_more"] != true || a.header.Get("Content-Length") != "" {
		t.Errorf("got %d, %d items, %v", a.status, len(items), a.header)
	}
	r.store.err = errors.New("disk at /var/lib/tsubo/x is gone")
	answer, err := r.client.Get("http://tsubo/executions?limit=40")
	if err == nil {
		_, err = answer.Body.Read(make([]byte, 1))
		for err == nil {
			_, err = answer.Body.Read(make([]byte, 1<<20))
		}
		_ = answer.Body.Close()
		if err.Error() == "EOF" {
			t.Error("half a page looks whole")
		}
	}
	r.store.records = nil
	r.do("GET", "/executions", "").detail(t, 500, "List error: the server's log has the reason")
}

// What the store cannot do is said with its status and without its words.
func TestStoreFails(t *testing.T) {
	r := newRig(t, 0)
	r.store.put(&job.Record{ID: "j", Caller: "uid:0", Status: job.Succeeded}, nil)
	r.exec.submit = func(job.Submission) (*job.Record, bool, error) {
		return nil, false, fmt.Errorf("accept: %w", job.ErrNoSpace)
	}
	r.do("POST", "/execute/async", body("x")).detail(t, 507, "No space left to keep it")
	r.exec.submit = func(job.Submission) (*job.Record, bool, error) {
		return nil, false, job.Refuse(job.NoSpace, "Your share is full")
	}
	r.do("POST", "/execute/async", body("x")).detail(t, 507, "Your share is full")
	r.exec.submit = func(job.Submission) (*job.Record, bool, error) {
		return nil, false, errors.New("sqlite: no such table: records")
	}
	r.do("POST", "/execute/async", body("x")).detail(t, 500, "Submit error: the server's log has the reason")
	r.do("POST", "/jobs/j/rerun", "{}").detail(t, 400, "Original code not available for replay")
}

// A job that ended between two looks is what its record says.
func TestTheRecordWins(t *testing.T) {
	r := newRig(t, 1001)
	r.exec.live = map[string]job.Live{"j": {Status: job.Running, Caller: "uid:1001"}}
	r.store.put(&job.Record{ID: "j", Caller: "uid:1001", Status: job.Succeeded}, nil)
	if a := r.do("GET", "/jobs/j", ""); a.body["status"] != "succeeded" {
		t.Errorf("got %s", a.text)
	}
	r.do("POST", "/jobs/j/cancel", "").detail(t, 404, "already completed")
	if a := r.do("GET", "/jobs/j/result?wait=1", ""); a.body["status"] != "succeeded" {
		t.Errorf("got %s", a.text)
	}
	// And one that has not ended is not deleted, whatever the store would do.
	r.store.put(&job.Record{ID: "k", Caller: "uid:1001", Status: job.Queued}, nil)
	r.do("DELETE", "/executions/k", "").detail(t, 409, "hasn't completed")
	if r.store.records["k"] == nil {
		t.Error("it is gone")
	}
}

// What a caller sends goes neither into a record nor into an answer at any length.
func TestLongNames(t *testing.T) {
	r := newRig(t, 1001)
	long := strings.Repeat("é", 1000)
	a := r.do("POST", "/execute/async", body("x"), "X-Correlation-ID", long)
	if a.status != 200 || a.header.Get("X-Correlation-ID") != long {
		t.Errorf("got %d %v", a.status, a.header)
	}
	if kept := r.store.records[fmt.Sprint(a.body["job_id"])].CorrelationID; kept != strings.Repeat("é", 128) {
		t.Errorf("kept %d bytes", len(kept))
	}
	if a := r.do("GET", "/job-types/"+strings.Repeat("a", 1000), ""); a.status != 404 || len(a.text) > 300 {
		t.Errorf("got %d %s", a.status, a.text)
	}
	if a := r.do("GET", "/job-types/%ff", ""); a.status != 404 || strings.TrimSpace(a.text) != `{"detail":"Not Found"}` {
		t.Errorf("got %d %s", a.status, a.text)
	}
}
