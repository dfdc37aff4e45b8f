package system

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
)

// ask sends a request, with a JSON body when there is one, and returns what came.
func (d *daemon) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://tsubo"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", method, path, err, d.logText())
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// submit accepts an asynchronous job and returns its id.
func (d *daemon) submit(t *testing.T, request map[string]any) string {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := d.ask(t, http.MethodPost, "/execute/async", string(body))
	var accepted job.SubmitAnswer
	if status != http.StatusOK || json.Unmarshal([]byte(answer), &accepted) != nil || accepted.JobID == "" {
		t.Fatalf("submit: HTTP %d %s", status, answer)
	}
	return accepted.JobID
}

// status is the answer of GET /jobs/{id}.
func (d *daemon) status(t *testing.T, id string) job.StatusAnswer {
	t.Helper()
	code, body := d.ask(t, http.MethodGet, "/jobs/"+id, "")
	var answer job.StatusAnswer
	if code != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil {
		t.Fatalf("status of %s: HTTP %d %s", id, code, body)
	}
	return answer
}

// ended waits until the job has ended and returns its record.
func (d *daemon) ended(t *testing.T, id string) job.FullAnswer {
	t.Helper()
	var record job.FullAnswer
	for deadline := time.Now().Add(8 * slack * time.Second); ; {
		code, body := d.ask(t, http.MethodGet, "/jobs/"+id+"/result?wait=true&timeout=30&view=full", "")
		if code == http.StatusOK {
			if err := json.Unmarshal([]byte(body), &record); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if record.Status.Terminal() {
				return record
			}
		} else if code != http.StatusRequestTimeout {
			t.Fatalf("result of %s: HTTP %d %s", id, code, body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has not ended: %s\n%s", id, record.Status, d.logText())
		}
	}
}

// event is one server-sent event.
type event struct {
	id         int
	kind, data string
}

// events reads a job's stream until its end or until enough reports it.
func (d *daemon) events(t *testing.T, id string, after int, enough func(event) bool) (all []event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*slack*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tsubo/jobs/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		req.Header.Set("Last-Event-ID", strconv.Itoa(after))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("events: HTTP %d %s", resp.StatusCode, body)
	}
	var e event
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			e.id, _ = strconv.Atoi(value)
		case "event":
			e.kind = value
		case "data":
			e.data += value
		case "":
			if e.kind != "" {
				all = append(all, e)
				if enough != nil && enough(e) {
					return all
				}
			}
			e = event{}
		}
	}
	return all
}

// counts prints a number every 0.2 s.
const counts = "import time\nfor i in range(2000):\n  print(i, flush=True)\n  time.sleep(0.2)"

func said(text string) func(event) bool {
	return func(e event) bool { return e.kind == "stdout" && strings.Contains(e.data, text) }
}

func TestAsync(t *testing.T) {
	before := shared.state(t)
	request := map[string]any{
		"code":            "import sys\nprint('häß')\nopen('/output/a.txt','w').write('kept')\nopen('/output/result.json','w').write('[1]')",
		"idempotency_key": "system-test-async-1",
	}
	id := shared.submit(t, request)
	record := shared.ended(t, id)
	if record.Status != job.Succeeded || record.Stdout != "häß\n" || string(record.Output) != "[1]" || len(record.Artifacts) != 2 || *record.Runtime != "runsc" {
		t.Errorf("%+v", record)
	}
	if again := shared.submit(t, request); again != id {
		t.Errorf("the same key made another job: %s", again)
	}
	request["code"] = "print(2)"
	body, _ := json.Marshal(request)
	if code, answer := shared.ask(t, http.MethodPost, "/execute/async", string(body)); code != http.StatusConflict {
		t.Errorf("HTTP %d %s", code, answer)
	}
	if code, answer := shared.ask(t, http.MethodGet, "/jobs/"+id+"/artifacts/a.txt", ""); code != http.StatusOK || answer != "kept" {
		t.Errorf("HTTP %d %q", code, answer)
	}
	stream := shared.events(t, id, 0, nil)
	text := ""
	for _, e := range stream {
		if e.kind == "stdout" {
			text += e.data
		}
	}
	if last := stream[len(stream)-1]; last.kind != "result" || !strings.Contains(last.data, "succeeded") || !strings.Contains(text, "häß") {
		t.Errorf("%+v", stream)
	}
	shared.nothingLeft(t, before)
}

// Cancel kills the sandbox at once, keeps what was written, and frees everything; a stream that was
// broken off goes on where it was.
func TestCancelRunning(t *testing.T) {
	before := shared.state(t)
	id := shared.submit(t, map[string]any{"code": counts, "timeout": 250})
	seen := shared.events(t, id, 0, said("1"))
	last := seen[len(seen)-1]
	more := shared.events(t, id, last.id, func(e event) bool { return e.kind == "stdout" })
	if more[0].id != last.id+1 {
		t.Errorf("resumed after %d with %+v", last.id, more[0])
	}
	for range 2 {
		code, answer := shared.ask(t, http.MethodPost, "/jobs/"+id+"/cancel", "")
		if code != http.StatusOK && code != http.StatusNotFound {
			t.Errorf("HTTP %d %s", code, answer)
		}
	}
	record := shared.ended(t, id)
	if record.Status != job.Cancelled || record.ExitCode != nil || record.Error.Type != job.TypeCancelled || !strings.HasPrefix(record.Stdout, "0\n1\n") {
		t.Errorf("%+v %+v", record.RecordAnswer, record.Error)
	}
	if code, answer := shared.ask(t, http.MethodPost, "/jobs/"+id+"/cancel", ""); code != http.StatusNotFound {
		t.Errorf("HTTP %d %s", code, answer)
	}
	shared.nothingLeft(t, before)
}

const oneSlot = `max_workers: 1
max_queue_size: 4
default_timeout: 250
`

// One slot, and everybody in order; what is cancelled before its turn never runs; a full queue
// refuses and keeps nothing.
func TestQueue(t *testing.T) {
	d, err := startDaemon(need.RootDir(t), "queue", oneSlot)
	if err != nil {
		t.Fatal(err)
	}
	running := d.submit(t, map[string]any{"code": counts})
	d.events(t, running, 0, said("0"))
	var queued []string
	for i := range 4 {
		queued = append(queued, d.submit(t, map[string]any{"code": fmt.Sprintf("print(%d)", i)}))
	}
	for i, id := range queued {
		if s := d.status(t, id); s.Status != job.Pending || s.QueuePosition == nil || *s.QueuePosition != i+1 {
			t.Errorf("%d: %+v", i, s)
		}
	}
	full := `{"code":"print(5)","idempotency_key":"system-test-full"}`
	if code, answer := d.ask(t, http.MethodPost, "/execute/async", full); code != http.StatusServiceUnavailable {
		t.Errorf("full queue: HTTP %d %s", code, answer)
	}
	if code, answer := d.ask(t, http.MethodPost, "/jobs/"+queued[1]+"/cancel", ""); code != http.StatusOK {
		t.Errorf("HTTP %d %s", code, answer)
	}
	if s := d.status(t, queued[1]); s.Status != job.Cancelled {
		t.Errorf("right after its cancel: %+v", s)
	}
	code, answer := d.ask(t, http.MethodPost, "/execute/async", full) // the key was not burned
	if code != http.StatusOK {
		t.Errorf("HTTP %d %s", code, answer)
	}
	if code, answer := d.ask(t, http.MethodPost, "/jobs/"+running+"/cancel", ""); code != http.StatusOK {
		t.Errorf("HTTP %d %s", code, answer)
	}
	var before time.Time
	for i, id := range []string{queued[0], queued[2], queued[3]} {
		record := d.ended(t, id)
		if record.Status != job.Succeeded || time.Time(*record.StartedAt).Before(before) {
			t.Errorf("%d: %+v", i, record.RecordAnswer)
		}
		before = time.Time(*record.EndedAt)
	}
	if record := d.ended(t, queued[1]); record.StartedAt != nil {
		t.Errorf("it ran after its cancel: %+v", record.RecordAnswer)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}

// Ruling 4 with the real daemon: over kill -9, over a stop that a second signal hurries, and over a
// stop in peace.
func TestRestarts(t *testing.T) {
	dir := need.RootDir(t)
	extra := "  - name: again\n    retry_on_interrupt: true\n    memory_limit: 128m\n" + strings.Replace(oneSlot, "1", "2", 1)
	start := func() *daemon {
		t.Helper()
		d, err := startDaemon(dir, "restarts", extra)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	load := func(d *daemon) (lost, again string, queued []string) {
		t.Helper()
		lost = d.submit(t, map[string]any{"code": counts})
		again = d.submit(t, map[string]any{"code": "import time\nprint('begun', flush=True)\ntime.sleep(12)", "job_type": "again", "timeout": 250})
		for i := range 3 {
			queued = append(queued, d.submit(t, map[string]any{"code": fmt.Sprintf("print(%d)", i)}))
		}
		d.events(t, lost, 0, said("0"))
		d.events(t, again, 0, said("begun"))
		return lost, again, queued
	}
	check := func(d *daemon, lost, again string, queued []string) {
		t.Helper()
		record := d.ended(t, lost)
		if record.Status != job.Failed || record.Error.Type != job.TypeInterrupted || *record.ExitCode != -1 {
			t.Errorf("%+v %+v", record.RecordAnswer, record.Error)
		}
		for _, id := range append(queued, again) {
			if record := d.ended(t, id); record.Status != job.Succeeded {
				t.Errorf("%+v %+v", record.RecordAnswer, record.Error)
			}
		}
	}

	d := start()
	lost, again, queued := load(d)
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.exited
	d = start()
	check(d, lost, again, queued)

	lost, again, queued = load(d)
	for range 2 {
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // two signals at once would be one
	}
	if err := <-d.exited; err != nil {
		t.Errorf("%v\n%s", err, d.logText())
	}
	d = start()
	check(d, lost, again, queued)
	if record := d.ended(t, lost); !strings.HasPrefix(record.Stdout, "0\n") {
		t.Errorf("a stop keeps what was written: %q", record.Stdout)
	}

	short := d.submit(t, map[string]any{"code": "import time\nprint('begun', flush=True)\ntime.sleep(2)\nprint('ended')"})
	d.events(t, short, 0, said("begun"))
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	d = start()
	if record := d.ended(t, short); record.Status != job.Succeeded || record.Stdout != "begun\nended\n" {
		t.Errorf("what runs is let run to its end: %+v", record.RecordAnswer)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}
