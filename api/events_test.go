package api

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

var asStream = []string{"Accept", "text/event-stream"}

func TestExecuteStream(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	t.Run("a run from its beginning to its result", func(t *testing.T) {
		next, answer := alice.watch(alice.request("POST", "/execute", body("out a\nerr b\nwait\nout é\nresult {\"x\":1}\nfile f abc", "artifacts", "inline"), asStream...))
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %v", answer.StatusCode, answer.Header)
		}
		var seen []string
		for e := next(); ; e = next() {
			if seen = append(seen, e.event); e.event == "stderr" || e.event == "" {
				break
			}
		}
		if want := []string{"queued", "started", "stdout", "stderr"}; !reflect.DeepEqual(seen, want) {
			t.Errorf("before its end: %v", seen) // it is live
		}
		f.runner.release <- struct{}{}
		_, stdout, _, last := story(next)
		if stdout != "é\n" || last.event != "result" || keys(last.data) != strings.Join(answerKeys, " ") || last.data["stdout"] != "a\né\n" || last.data["success"] != true {
			t.Errorf("got %q, %v", stdout, last)
		}
		if artifacts := fmt.Sprint(last.data["artifacts"]); !strings.Contains(artifacts, "YWJj") {
			t.Errorf("got %s", artifacts)
		}
		id := fmt.Sprint(last.data["execution_id"])
		if a := alice.do("GET", "/executions/"+id, ""); a.body["stdout"] != "a\né\n" {
			t.Errorf("got %s", a.text)
		}
	})
	t.Run("runs that are over at once", func(t *testing.T) {
		for range 50 {
			next, _ := alice.watch(alice.request("POST", "/execute", body("out a"), asStream...))
			events, stdout, _, last := story(next)
			if want := []string{"queued", "started", "stdout", "result"}; !reflect.DeepEqual(events, want) || stdout != "a\n" || last.data["stdout"] != "a\n" {
				t.Fatalf("got %v %q %v", events, stdout, last)
			}
		}
	})
	t.Run("refusals are answers as ever", func(t *testing.T) {
		for with, status := range map[string]int{"{": 422, `{"code":"x","job_type":"nope"}`: 404, `{"code":"x","timeout":301}`: 422} {
			if a := alice.do("POST", "/execute", with, asStream...); a.status != status || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d %v", with, a.status, a.header)
			}
		}
	})
	t.Run("a refused run is a stream", func(t *testing.T) {
		next, _ := alice.watch(alice.request("POST", "/execute", body("x", "requirements", []string{"a"}), asStream...))
		if _, _, _, last := story(next); last.event != "result" || last.data["success"] != false {
			t.Errorf("got %v", last)
		}
	})
	t.Run("who asks for a stream", func(t *testing.T) {
		for accept, want := range map[string]string{
			"": "application/json", "*/*": "application/json", "application/json": "application/json", "text/event-stream;q=0": "application/json", "text/*": "application/json",
			"application/json, text/event-stream": "text/event-stream", "Text/Event-Stream; q=0.5": "text/event-stream", ";;": "application/json",
		} {
			if a := alice.raw("POST", "/execute", body("x"), "Accept", accept); a.header.Get("Content-Type") != want {
				t.Errorf("%q: %v", accept, a.header)
			}
		}
	})
}

func TestJobEvents(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	watch := func(t *testing.T, id string, header ...string) func() sse {
		t.Helper()
		next, answer := alice.watch(alice.request("GET", "/jobs/"+id+"/events", "", header...))
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
			text, _ := io.ReadAll(answer.Body)
			t.Fatalf("got %d %s", answer.StatusCode, text)
		}
		return next
	}
	t.Run("live, by many readers, resumed", func(t *testing.T) {
		id := alice.submit("out a\nwait\nout b\nwait\nout c")
		var readers []func() sse
		for range 20 {
			readers = append(readers, watch(t, id))
		}
		var at string
		for _, next := range readers {
			for e := next(); e.event != "stdout"; e = next() {
				if e.event == "" {
					t.Fatal("a stream ended")
				}
			}
		}
		next := watch(t, id)
		for e := next(); ; e = next() {
			if e.event == "stdout" || e.event == "" {
				at = e.id
				break
			}
		}
		f.runner.release <- struct{}{}
		f.runner.release <- struct{}{}
		for _, next := range readers {
			events, stdout, _, last := story(next)
			if stdout != "b\nc\n" || last.event != "result" || keys(last.data) != fullKeys || last.data["stdout"] != "a\nb\nc\n" {
				t.Errorf("got %v %q %v", events, stdout, last)
			}
		}
		resumed := watch(t, id, "Last-Event-ID", at)
		if events, stdout, _, last := story(resumed); stdout != "b\nc\n" || last.event != "result" || strings.Join(events, " ") != "stdout result" {
			t.Errorf("resumed: %v %q", events, stdout)
		}
	})
	t.Run("of a job that ended long ago", func(t *testing.T) {
		r := newRig(t, 1001)
		text := "x"
		r.store.put(&job.Record{ID: "old", Caller: "uid:1001", Status: job.Succeeded, Stdout: text, Stderr: "e", StartedAt: time.Unix(1, 0)}, nil)
		r.store.put(&job.Record{ID: "never", Caller: "uid:1001", Status: job.Cancelled}, nil)
		next, _ := r.watch(r.request("GET", "/jobs/old/events", ""))
		var ids []string
		for e := next(); e.event != ""; e = next() {
			ids = append(ids, e.id+" "+e.event)
		}
		if want := "1 queued,2 started,3 stdout,4 stderr,5 result"; strings.Join(ids, ",") != want {
			t.Errorf("got %v", ids)
		}
		next, _ = r.watch(r.request("GET", "/jobs/never/events", ""))
		if events, _, _, last := story(next); strings.Join(events, " ") != "queued result" || last.data["status"] != "cancelled" {
			t.Errorf("got %v", events)
		}
		// What the reader has of it nobody knows: it is shown, and gets the whole output with the
		// result.
		next, _ = r.watch(r.request("GET", "/jobs/old/events", "", "Last-Event-ID", "57"))
		if events, _, _, last := story(next); strings.Join(events, " ") != "gap result" || last.id != "58" || last.data["stdout"] != "x" {
			t.Errorf("got %v %v", events, last)
		}
		// A record reports that the job waits, and no stream is there: this daemon is about to take
		// it up.
		r.store.put(&job.Record{ID: "waits", Caller: "uid:1001", Status: job.Queued}, nil)
		r.do("GET", "/jobs/waits/events", "").detail(t, 503, "no stream at the moment")
	})
	t.Run("bad Last-Event-ID", func(t *testing.T) {
		id := alice.submit("x")
		alice.result(id)
		for _, bad := range []string{"x", "-1", "1.5", "18446744073709551616", "1 2"} {
			if a := alice.do("GET", "/jobs/"+id+"/events", "", "Last-Event-ID", bad); a.status != 422 {
				t.Errorf("%q: %d", bad, a.status)
			}
		}
	})
}

// A stream that ends without a result is never one that succeeded.
func TestBrokenStream(t *testing.T) {
	r := newRig(t, 1001)
	r.exec.live = map[string]job.Live{"j": {Status: job.Running, Caller: "uid:1001"}}
	r.exec.events = func(context.Context, string, uint64) (iter.Seq[job.Event], bool) {
		return func(yield func(job.Event) bool) {
			_ = yield(job.Event{ID: 1, Kind: job.EventQueued}) && yield(job.Event{ID: 7, Kind: job.EventGap}) && yield(job.Event{ID: 8, Kind: job.EventStdout, Text: "late"})
		}, true
	}
	next, _ := r.watch(r.request("GET", "/jobs/j/events", ""))
	events, _, _, last := story(next)
	if strings.Join(events, " ") != "queued gap stdout error" || last.id != "" || keys(last.data) != "correlation_id detail" {
		t.Errorf("got %v %v", events, last)
	}
	// The run itself fails behind a stream that has begun.
	r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) {
		return nil, fmt.Errorf("no disk at /var/lib/tsubo/x")
	}
	next, _ = r.watch(r.request("POST", "/execute", body("x"), asStream...))
	events, _, _, last = story(next)
	if last.event != "error" || strings.Contains(fmt.Sprint(last.data), "lib/tsubo/x") {
		t.Errorf("got %v %v", events, last)
	}
	// Before it has begun it is an answer as ever.
	r.exec.events = nil
	r.do("POST", "/execute", body("x"), asStream...).detail(t, 500, "Execution error")
	r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) { panic("boom") }
	r.do("POST", "/execute", body("x"), asStream...).detail(t, 500, "Execution error: the server's log has the reason")
}

func TestHeartbeat(t *testing.T) {
	r := newRig(t, 1001)
	r.server.heartbeat = time.Millisecond
	r.exec.live = map[string]job.Live{"j": {Status: job.Running, Caller: "uid:1001"}}
	r.exec.events = func(ctx context.Context, _ string, _ uint64) (iter.Seq[job.Event], bool) {
		return func(func(job.Event) bool) { <-ctx.Done() }, true
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	next, _ := r.watch(r.request("GET", "/jobs/j/events", "").WithContext(ctx))
	for range 3 {
		if e := next(); !strings.HasPrefix(e.event, ":") {
			t.Errorf("got %v", e)
		}
	}
}

// 500 waiters and 200 streams on one daemon, and nothing left of them afterwards.
func TestManyWaitersAndStreams(t *testing.T) {
	f := newFull(t)
	alice, _, _ := f.on(t)
	id := alice.submit("out a\nwait\nout b")
	alice.until(id, "running")
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			if a := alice.do("GET", "/jobs/"+id+"/result?wait=1&timeout=120", ""); a.status != 200 || a.body["status"] != "succeeded" {
				t.Errorf("a waiter got %d %s", a.status, a.text)
			}
		})
	}
	ready := make(chan struct{}, 200)
	for range cap(ready) {
		all.Go(func() {
			q, err := http.NewRequestWithContext(t.Context(), "GET", "http://tsubo/jobs/"+id+"/events", nil)
			if err != nil {
				t.Error(err)
				return
			}
			a, err := alice.client.Do(q)
			if err != nil {
				t.Error(err)
				return
			}
			defer a.Body.Close()
			ready <- struct{}{}
			text, err := io.ReadAll(a.Body)
			if err != nil || !strings.Contains(string(text), "event: result\n") {
				t.Errorf("a stream got %q, %v", text, err)
			}
		})
	}
	for range cap(ready) {
		<-ready
	}
	close(f.runner.release)
	all.Wait()
	alice.client.CloseIdleConnections()
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
