package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/job"
)

// slow is a runner whose job writes until it is released.
type slow struct{ done chan struct{} }

func (s slow) Run(ctx context.Context, _ *job.Spec, o job.Observer) (*job.Result, error) {
	o.Started()
	for i := 0; ; i++ {
		select {
		case <-s.done:
			zero := 0
			return &job.Result{Status: job.Succeeded, ExitCode: &zero, Stdout: "all of it"}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
			o.Stdout(fmt.Appendf(nil, "line %d\n", i))
		}
	}
}

// 500 waiters and 200 streams run at once and a third hang up. The others receive the end, memory
// stays limited, nothing is left.
func TestManyWaitersAndStreams(t *testing.T) {
	const waiters, streams = 500, 200
	cfg := configured(t, "max_workers: 1\n")
	d := bare(t, cfg)
	if err := api.MakeDir(cfg.RunDir, ""); err != nil {
		t.Fatal(err)
	}
	r := slow{make(chan struct{})}
	if err := d.startJobs(t.Context(), cfg, r); err != nil {
		t.Fatal(err)
	}
	if err := d.serve(cfg, nil); err != nil {
		t.Fatal(err)
	}
	d.ready.Store(true)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cfg.Socket)
	}}
	client := &http.Client{Transport: transport}
	post, err := client.Post("http://tsubo/execute/async", "application/json", strings.NewReader(`{"code":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	var accepted job.SubmitAnswer
	if err := json.NewDecoder(post.Body).Decode(&accepted); err != nil || accepted.JobID == "" {
		t.Fatal(err, post.Status)
	}
	post.Body.Close()
	transport.CloseIdleConnections()

	measure := func() (goroutines int, heap uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc + m.StackInuse
	}
	before, heapBefore := measure()
	var all sync.WaitGroup
	var mu sync.Mutex
	heard, failed := 0, []string{}
	connected := make(chan struct{}, waiters+streams)
	ask := func(path, end string, hangUp bool) {
		defer all.Done()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://tsubo/jobs/"+accepted.JobID+path, nil)
		if err != nil {
			panic(err)
		}
		connected <- struct{}{}
		if hangUp {
			time.AfterFunc(500*time.Millisecond, cancel)
		}
		resp, err := client.Do(req)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		mu.Lock()
		defer mu.Unlock()
		switch ok := err == nil && bytes.Contains(body, []byte(end)); {
		case ok:
			heard++
		case !hangUp:
			failed = append(failed, fmt.Sprintf("%s: %v %.200s", path, err, body))
		}
	}
	for i := range waiters {
		all.Add(1)
		go ask("/result?wait=true&timeout=60", "all of it", i%3 == 0)
	}
	for i := range streams {
		all.Add(1)
		go ask("/events", "event: result", i%3 == 0)
	}
	for range waiters + streams {
		<-connected
	}
	time.Sleep(2 * time.Second) // they wait and receive events
	_, heapDuring := measure()
	close(r.done)
	all.Wait()
	transport.CloseIdleConnections()
	if want := waiters + streams - (waiters+2)/3 - (streams+2)/3; heard < want || len(failed) > 0 {
		t.Errorf("%d heard the end, want %d; %d did not: %v", heard, want, len(failed), failed[:min(3, len(failed))])
	}
	grown := int64(heapDuring) - int64(heapBefore)
	t.Logf("%d bytes for %d waiters and %d streams, both ends of their connections included", grown, waiters, streams)
	if grown > 100<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now, _ := measure()
		if now <= before {
			break
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
	}
	if err := d.stopJobs(t.Context()); err != nil {
		t.Error(err)
	}
}
