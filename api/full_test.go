package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/store"
)

// full is the surface over the real scheduler and the real store; only what runs a job is the
// test's own.
type full struct {
	t      *testing.T
	server *Server
	sched  *scheduler.Scheduler
	store  *store.Store
	images *fakeImages
	runner *scriptRunner
	alice  *rig // uid 1001
	bob    *rig // uid 1002
	admin  *rig // uid 0
}

func newFull(t *testing.T, change ...func(*Policy, *scheduler.Options)) *full {
	t.Helper()
	dir := shortDir(t)
	s, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &full{t: t, store: s, images: &fakeImages{list: []job.Image{{Name: "python", Digest: "sha256:x", Rootfs: "erofs"}}}, runner: &scriptRunner{release: make(chan struct{})}}
	p := testPolicy()
	o := scheduler.Options{Runner: f.runner, Store: s, Budget: 100 << 30, Workers: 4, Queue: 10, Runtime: "runsc", RetryDelay: time.Millisecond}
	for _, c := range change {
		c(&p, &o)
	}
	o.Resolve = func(rec *job.Record, req *job.Request) (*job.Spec, error) { return p.Spec(req, rec.ID, rec.Caller) }
	if f.sched, err = scheduler.New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := f.sched.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := f.sched.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.server, err = New(Options{
		Version: "1.2.3", Runtime: "runsc", Policy: p, Jobs: f.sched, Store: s, Images: f.images, Keys: &fakeKeys{},
		Facts: func() Facts { return Facts{Ready: true, GVisor: true, Breaker: f.sched.Breaker()} },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.alice, f.bob, f.admin = serveAs(t, f.server, 1001), serveAs(t, f.server, 1002), serveAs(t, f.server, 0)
	return f
}

// scriptRunner runs programs of a few words, one a line.
type scriptRunner struct {
	mu      sync.Mutex
	specs   []*job.Spec
	release chan struct{} // closed or sent to: what waits goes on
}

func (r *scriptRunner) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	r.mu.Lock()
	r.specs = append(r.specs, s)
	r.mu.Unlock()
	zero, ms := 0, int64(7)
	phase := job.PhaseCompleted
	result := &job.Result{
		Status: job.Succeeded, ExitCode: &zero, Timing: job.Timing{StartupMS: &ms, ExecutionMS: &ms, TotalMS: &ms, PhaseAtExit: &phase},
		Usage: job.Usage{WallTimeMS: &ms}, Enforced: job.Enforced{Runtime: "runsc", Rootfs: "erofs", Network: "none", Seccomp: true}, StartedAt: time.Now(),
	}
	var raw *job.RawStdout
	if s.RawStdout {
		raw = &job.RawStdout{Observer: o, Limit: s.Limits.Stdout}
		o = raw
	}
	o.Started()
	for line := range strings.Lines(s.Code) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "out":
			result.Stdout += rest + "\n"
			o.Stdout([]byte(rest + "\n"))
		case "err":
			result.Stderr += rest + "\n"
			o.Stderr([]byte(rest + "\n"))
		case "flood":
			n, err := strconv.Atoi(rest)
			if err != nil {
				return nil, err
			}
			for range n {
				o.Stdout([]byte(strings.Repeat("x", 1000)))
			}
		case "result":
			result.Output = json.RawMessage(rest)
		case "file":
			name, text, _ := strings.Cut(rest, " ")
			sum := sha256.Sum256([]byte(text))
			result.Artifacts = append(result.Artifacts, job.Artifact{Name: name, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:]), Data: []byte(text)})
		case "exit":
			code, err := strconv.Atoi(rest)
			if err != nil {
				return nil, err
			}
			result.Status, result.ExitCode, result.Error = job.Failed, &code, &job.Error{Type: job.TypeRuntime, Message: "Exit code " + rest}
		case "wait":
			select {
			case <-r.release:
			case <-ctx.Done():
				v := job.Classify(job.Facts{Cause: job.CancelRequested, Phase: job.PhaseExecution})
				result.Status, result.ExitCode, result.Error = v.Status, v.ExitCode, v.Error
			}
		case "spec":
			beside := ""
			for _, f := range s.CodeFiles {
				beside += f.Name + "=" + string(f.Data) + ","
			}
			text, err := json.Marshal(map[string]any{
				"filename": s.Filename, "code_files": beside,
				"args": s.Args, "stdin": string(s.Stdin), "files": len(s.Files), "environment": s.Environment, "memory": s.Limits.Memory, "cpu": s.Limits.CPU,
				"timeout": s.Timeout.Seconds(), "startup": s.StartupTimeout.Seconds(), "input": string(s.Input),
			})
			if err != nil {
				return nil, err
			}
			result.Output = text
		}
	}
	if raw != nil {
		raw.Attach(result)
	}
	result.EndedAt = time.Now()
	return result, nil
}

// ran is how often this code ran.
func (r *scriptRunner) ran(code string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.specs {
		if s.Code == code {
			n++
		}
	}
	return n
}

// goOn lets everything that waits go on.
func (f *full) goOn() { close(f.runner.release) }

// body is a request body of code and more members.
func body(code string, more ...any) string {
	m := map[string]any{"code": code}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1] //nolint:forcetypeassert // written here
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// submit accepts a job and returns its id.
func (r *rig) submit(code string, more ...any) string {
	r.t.Helper()
	a := r.do("POST", "/execute/async", body(code, more...))
	id, _ := a.body["job_id"].(string)
	if a.status != 200 || id == "" || a.body["status"] != "queued" {
		r.t.Fatalf("submit: %d %s", a.status, a.text)
	}
	return id
}

// result waits for the record of a job.
func (r *rig) result(id string) reply {
	r.t.Helper()
	a := r.do("GET", "/jobs/"+id+"/result?wait=true&timeout=60&view=full", "")
	if a.status != 200 {
		r.t.Fatalf("result of %s: %d %s", id, a.status, a.text)
	}
	return a
}

// until asks for the status of a job until it is this.
func (r *rig) until(id, status string) reply {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		a := r.do("GET", "/jobs/"+id, "")
		if a.body["status"] == status {
			return a
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("job %s is %s, not %s", id, a.text, status)
		}
	}
}

// told waits until the stream of a job has told this event.
func (r *rig) told(id, event string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	next, _ := r.watch(r.request("GET", "/jobs/"+id+"/events", "").WithContext(ctx))
	for e := next(); e.event != event; e = next() {
		if e.event == "" {
			r.t.Fatalf("job %s never told %s", id, event)
		}
	}
}

// sse is one server-sent event.
type sse struct {
	id, event string
	data      map[string]any
}

// watch opens a stream and returns its events one by one; "" as the event means that the stream has
// ended.
func (r *rig) watch(q *http.Request) (next func() sse, answer *http.Response) {
	r.t.Helper()
	a, err := r.client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = a.Body.Close() })
	lines := bufio.NewReader(a.Body)
	return func() sse {
		var e sse
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return sse{}
			}
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.event = value
			case "data":
				if err := json.Unmarshal([]byte(value), &e.data); err != nil {
					r.t.Errorf("event data %s: %v", value, err)
				}
			case "":
				if e.event != "" {
					return e
				}
				if value != "" { // a comment
					return sse{event: ":" + value}
				}
			}
		}
	}, a
}

// story is a stream in short: its events, texts joined.
func story(next func() sse) (events []string, stdout, stderr string, last sse) {
	for e := next(); e.event != ""; e = next() {
		text, _ := e.data["text"].(string)
		switch e.event {
		case "stdout":
			stdout += text
		case "stderr":
			stderr += text
		}
		if n := len(events); n == 0 || events[n-1] != e.event {
			events = append(events, e.event)
		}
		last = e
	}
	return events, stdout, stderr, last
}

func keys(m map[string]any) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}
