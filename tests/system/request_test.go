package system

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// What tsubo adds to a request arrives in the sandbox as it was sent.
func TestRequestReachesTheProgram(t *testing.T) {
	const code = `import json, os, sys
out = {
    "args": sys.argv[1:], "stdin": sys.stdin.read(), "text": open("/input/text.txt").read(), "bytes": list(open("/input/bytes", "rb").read()),
    "files": sorted(os.listdir("/input")), "data": json.load(open("/input/data.json")), "writable": os.access("/input/text.txt", os.W_OK),
    "memory": next(int(l.split()[1]) // 1024 for l in open("/proc/meminfo") if l.startswith("MemTotal")), "asked": os.environ.get("ASKED"), "kept": os.environ.get("KEPT"),
}
os.write(1, b"\xff\xfe raw")
json.dump(out, open("/output/result.json", "w"))
`
	id := shared.submit(t, map[string]any{
		"code": code, "job_type": "small", "args": []string{"--x", "a b", ""}, "stdin": map[string]any{"base64": "aGk="}, "memory_limit": "128m", "cpu_limit": 0.5,
		"files": map[string]any{"text.txt": "é\n", "bytes": map[string]any{"base64": "AP8="}}, "input_data": map[string]any{"n": 1},
		"environment": map[string]any{"ASKED": "yes no"}, "raw_stdout": true, "metadata": map[string]any{"k": "v"},
	})
	r := shared.ended(t, id)
	var got struct {
		Args, Files []string
		Stdin, Text string
		Bytes       []int
		Writable    bool
		Memory      int
		Asked, Kept *string
	}
	if err := json.Unmarshal(r.Output, &got); err != nil {
		t.Fatalf("output %s, stderr %s, error %+v: %v", r.Output, r.Stderr, r.Error, err)
	}
	if strings.Join(got.Args, "|") != "--x|a b|" || strings.Join(got.Files, " ") != "bytes data.json text.txt" || got.Stdin != "hi" || got.Text != "é\n" || len(got.Bytes) != 2 ||
		got.Bytes[1] != 255 || got.Writable || got.Asked == nil || *got.Asked != "yes no" || got.Kept == nil || *got.Kept != "type" {
		t.Errorf("the program saw %s", r.Output)
	}
	if got.Memory < 120 || got.Memory > 132 {
		t.Errorf("MemTotal is %d MiB, want 128", got.Memory)
	}
	if r.Stdout != "\ufffd\ufffd raw" {
		t.Errorf("stdout %q", r.Stdout)
	}
	if status, raw := shared.ask(t, http.MethodGet, "/jobs/"+id+"/artifacts/"+job.RawStdoutName, ""); status != http.StatusOK || raw != "\xff\xfe raw" {
		t.Errorf("raw stdout: %d %q", status, raw)
	}
	if status, page := shared.ask(t, http.MethodGet, "/executions?label=k=v", ""); status != http.StatusOK || !strings.Contains(page, id) {
		t.Errorf("by label: %d %s", status, page)
	}
	// All of it again.
	status, answer := shared.ask(t, http.MethodPost, "/jobs/"+id+"/rerun", "{}")
	var again job.SubmitAnswer
	if status != http.StatusOK || json.Unmarshal([]byte(answer), &again) != nil {
		t.Fatalf("rerun: %d %s", status, answer)
	}
	if second := shared.ended(t, again.JobID); string(second.Output) != string(r.Output) || second.Stdout != r.Stdout {
		t.Errorf("the rerun saw %s", second.Output)
	}
}
