package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// answering is a Client of a server that gives every request to handle.
func answering(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handle, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	c := New(socket)
	t.Cleanup(func() {
		c.Close()
		if err := errors.Join(server.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
		<-done
	})
	return c
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, body string
		detail     string
	}{
		{"sentence", `{"detail":"Job queue is full","correlation_id":"x"}`, "Job queue is full"},
		{"list", `{"detail":[{"type":"a","loc":["body","input_data",0],"msg":"bad"},{"loc":["body"],"msg":"worse"},{"loc":[],"msg":"worst"}]}`, "input_data.0: bad; worse; worst"},
		{"no JSON", "<html>" + strings.Repeat("é", 1000), ("<html>" + strings.Repeat("é", 247))},
		{"other JSON", `{"detail":5}`, `{"detail":5}`},
	} {
		client := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.Header().Set("X-Correlation-ID", "id")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := client.Execute(t.Context(), Request{Code: "1"})
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != 503 || refused.Detail != c.detail || refused.RetryAfter != 3*time.Second || refused.CorrelationID != "id" {
			t.Errorf("%s: %+v", c.name, err)
		}
	}
}

func TestRequest(t *testing.T) {
	var got, path string
	client := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, path = string(body), r.Method+" "+r.URL.String()
		_, _ = io.WriteString(w, `{"success":true,"exit_code":0,"output":{"n":1.50},"stdout":"x","artifacts":[{"name":"a","data":"YQ=="}]}`)
	})
	seven := int64(7)
	a, err := client.Execute(t.Context(), Request{Code: "print(1)", InputData: []byte(`{"n":1.50}`), Timeout: &seven, JobType: "t", Artifacts: job.ArtifactsInline})
	if err != nil || !a.Success || string(a.Output) != `{"n":1.50}` || string(a.Artifacts[0].Data) != "a" {
		t.Errorf("got %+v, %v", a, err)
	}
	if want := `{"code":"print(1)","input_data":{"n":1.50},"timeout":7,"job_type":"t","artifacts":"inline"}`; got != want || path != "POST /execute" {
		t.Errorf("sent %s to %s", got, path)
	}
	if _, err := client.Execute(t.Context(), Request{Code: "1"}); err != nil || got != `{"code":"1"}` {
		t.Errorf("sent %s, %v", got, err)
	}
	got = ""
	if _, err := client.Execute(t.Context(), Request{Code: "\xff"}); err == nil || got != "" {
		t.Errorf("sent code that is not UTF-8: %q, %v", got, err)
	}
	if _, err := client.ImportImage(t.Context(), "a b&name=c", bytes.NewReader([]byte("tar"))); err != nil || got != "tar" || path != "POST /images?name=a+b%26name%3Dc" {
		t.Errorf("sent %s to %s, %v", got, path, err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, body := range []string{"", "{", "[]", `{"success":"yes"}`} {
		client := answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if a, err := client.Execute(t.Context(), Request{Code: "1"}); err == nil {
			t.Errorf("%q: %+v", body, a)
		}
	}
	client := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	if a, err := client.Execute(t.Context(), Request{Code: "1"}); err == nil {
		t.Errorf("half an answer: %+v", a)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none", "file"} {
		if _, err := New(filepath.Join(dir, name)).Health(t.Context()); err == nil || !strings.Contains(err.Error(), "is tsubod running?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHangUp(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	client := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := client.Execute(ctx, Request{Code: "1"})
		result <- err
	}()
	<-started
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended
}

func ExampleClient_Execute() {
	c := New(DefaultSocket)
	defer c.Close()
	answer, err := c.Execute(context.Background(), Request{Code: "print('hello')"})
	if err != nil {
		fmt.Println("nothing ran:", err)
		return
	}
	fmt.Print(answer.Stdout)
}
