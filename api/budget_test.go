package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

func TestBudget(t *testing.T) {
	var b budget
	if !b.take("a", 40, 100) || b.take("a", 11, 100) {
		t.Error("one caller does not have half")
	}
	if !b.take("b", 50, 100) || b.take("c", 11, 100) || !b.take("c", 10, 100) {
		t.Error("all callers together do not have all")
	}
	b.give("a", 40)
	b.give("b", 50)
	b.give("c", 10)
	if b.all != 0 || len(b.by) != 0 {
		t.Errorf("left %d, %v", b.all, b.by)
	}
}

// Bodies under way are counted while their runs last; beyond the caller's share they are 503, and
// nothing stays counted.
func TestBodiesAreCounted(t *testing.T) {
	r := newRig(t, 0)
	p := testPolicy()
	p.HeldBytes = 4 * p.MaxPayloadBytes
	if err := r.server.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}, 10), make(chan struct{})
	r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) {
		started <- struct{}{}
		<-release
		return succeeded(), nil
	}
	big := `{"code":"1","files":{"a":"` + strings.Repeat("a", 15000) + `"}}`
	answers := make(chan int, 10)
	for range 2 {
		go func() { answers <- r.do("POST", "/execute", big).status }()
		<-started
	}
	a := r.do("POST", "/execute", big)
	if a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("beyond the share: %d %s", a.status, a.text)
	}
	close(release)
	for range 2 {
		if status := <-answers; status != 200 {
			t.Errorf("within the share: %d", status)
		}
	}
	if a := r.do("POST", "/execute", big); a.status != 200 {
		t.Errorf("after the others: %d %s", a.status, a.text)
	}
	if n := r.server.held.all; n != 0 {
		t.Errorf("%d bytes stay counted", n)
	}
}

// An answer with large artifacts is whole, plain and as an event, and costs no memory while nobody
// reads it.
func TestInlineArtifactsStream(t *testing.T) {
	const size, many = 8 << 20, 12
	r := newRig(t, 0)
	data := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	data = append(data, 'x') // not a multiple of 3
	sum := sha256.Sum256(data)
	r.exec.run = func(context.Context, *job.Spec) (*job.Result, error) {
		result := succeeded()
		result.Artifacts = []job.Artifact{
			{Name: "empty", SHA256: hex.EncodeToString(make([]byte, 32))},
			{Name: "big", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Data: bytes.Clone(data)},
			{Name: "small", Size: 2, SHA256: hex.EncodeToString(make([]byte, 32)), Data: []byte("ab")},
		}
		return result, nil
	}
	const body = `{"code":"1","artifacts":"inline"}`
	check := func(text string) {
		t.Helper()
		want := `"data":"` + base64.StdEncoding.EncodeToString(data) + `"`
		if !strings.Contains(text, want) || !strings.Contains(text, `"data":"YWI="`) || !strings.Contains(text, `"data":""`) {
			t.Errorf("the artifacts are not in the answer of %d bytes", len(text))
		}
	}
	a := r.do("POST", "/execute", body)
	check(a.text)
	q, err := http.NewRequestWithContext(t.Context(), "POST", "http://tsubo/execute", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "text/event-stream")
	streamed, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(streamed.Body)
	_ = streamed.Body.Close()
	if err != nil || !strings.HasSuffix(string(text), "}\n\n") {
		t.Errorf("the stream does not end with its result: %v", err)
	}
	check(string(text))

	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	a = reply{}
	before := heap()
	for range many {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil { // the rest is not read
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 2*size {
		t.Errorf("%d unread answers of %d bytes hold %d bytes", many, size, grown)
	}
	if n := r.server.spooled.all; n < many*size {
		t.Errorf("%d bytes are counted on disk", n)
	}
}
