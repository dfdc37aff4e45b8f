package system

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
)

// TestCallersOpenNoBreaker: what a caller or an image brings along is no failed launch. Before,
// three to five such jobs had every caller's refused for half a minute.
func TestCallersOpenNoBreaker(t *testing.T) {
	d, err := startDaemon(need.RootDir(t), "breaker", "\napi_max_payload_bytes: 100m")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	for range 3 {
		status, body, err := d.execute(t.Context(), map[string]any{"code": "pass", "stdin": strings.Repeat("x", job.MaxStdin+1)})
		if err != nil || status != http.StatusUnprocessableEntity || !strings.Contains(string(body), "stdin has 67108865 bytes") {
			t.Fatalf("stdin over the limit: HTTP %d %.300s, %v", status, body, err)
		}
		a := d.run(t, map[string]any{"code": "pass", "job_type": "nonesuch"})
		if a.ErrorType == nil || *a.ErrorType != job.TypeConfig || a.Error == nil || !strings.Contains(*a.Error, "/nonesuch") {
			t.Errorf("a program that the image lacks: %+v", a)
		}
		// Half of the memory is admitted, and must arrive.
		a = d.run(t, map[string]any{"job_type": "small", "stdin": strings.Repeat("x", 31<<20), "timeout": 120,
			"code": "import sys\nn = 0\nwhile b := sys.stdin.buffer.read(65536): n += len(b)\nprint(n)"})
		if a.Stdout != "32505856\n" {
			t.Errorf("half of the memory on stdin: %+v", a)
		}
	}
	var health struct {
		Breaker job.Breaker `json:"circuit_breaker"`
	}
	if _, body := d.ask(t, http.MethodGet, "/health", ""); json.Unmarshal([]byte(body), &health) != nil || health.Breaker.FailureCount != 0 {
		t.Errorf("the breaker counts: %s", body)
	}
}
