package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// Every method sends what the wire contract has, with ids and names that cannot leave their place
// in the path.
func TestRequests(t *testing.T) {
	var got string
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Content-Type") + r.Header.Get("Range") + " " + string(body)
		if r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, `{"execution_id":"x","job_id":"x"}`)
	})
	seconds := int64(5)
	ctx := t.Context()
	for want, call := range map[string]func() error{
		`POST /execute/async application/json {"code":"c","files":{"b":{"base64":"AP8="},"t":"é"},"stdin":"in","metadata":{"a":"b"}}`: func() error {
			_, err := c.Submit(ctx, Request{Code: "c", Files: map[string]Data{"t": Data("é"), "b": {0, 255}}, Stdin: Data("in"), Metadata: map[string]string{"a": "b"}})
			return err
		},
		`POST /execute application/json {"code":"c","args":["x"],"memory_limit":"64m","cpu_limit":0.5}`: func() error {
			_, err := c.Execute(ctx, Request{Code: "c", Args: []string{"x"}, MemoryLimit: "64m", CPULimit: 0.5})
			return err
		},
		`GET /jobs/..%2Fa%3Fb  `:                               func() error { _, err := c.Status(ctx, "../a?b"); return err },
		`GET /jobs/x/result?view=full&wait=true&timeout=300  `: func() error { _, err := c.Result(ctx, "x"); return err },
		`GET /executions/x?view=full  `:                        func() error { _, err := c.Record(ctx, "x"); return err },
		`POST /jobs/x/cancel  `:                                func() error { return c.Cancel(ctx, "x") },
		`POST /jobs/x/rerun application/json {}`:               func() error { _, err := c.Rerun(ctx, "x", Replace{}); return err },
		`POST /jobs/x/fork application/json {"code":"c","job_type":"t","timeout":5}`: func() error {
			_, err := c.Fork(ctx, "x", Replace{Code: "c", JobType: "t", Timeout: &seconds})
			return err
		},
		`GET /jobs/x/artifacts/a%2Fb bytes=7- `: func() error {
			body, err := c.Artifact(ctx, "x", "a/b", 7)
			if err != nil {
				return err
			}
			return body.Close()
		},
		`GET /executions?label=a%3Db&limit=5&offset=6&status=failed  `: func() error {
			_, err := c.Executions(ctx, Listing{Status: "failed", Labels: map[string]string{"a": "b"}, Limit: 5, Offset: 6})
			return err
		},
		`DELETE /executions/x  `:      func() error { return c.Delete(ctx, "x") },
		`GET /pool/sandboxes  `:       func() error { _, err := c.PoolSandboxes(ctx); return err },
		`GET /pool/stats  `:           func() error { _, err := c.PoolStats(ctx); return err },
		`GET /dlq?limit=1&offset=2  `: func() error { _, err := c.DeadLetters(ctx, 1, 2); return err },
		`GET /version  `:              func() error { _, err := c.Version(ctx); return err },
	} {
		if err := call(); err != nil || got != want {
			t.Errorf("%s: sent %s, %v", want, got, err)
		}
	}
}

// Result asks again while the job goes on, and not when it is gone.
func TestResultWaits(t *testing.T) {
	asked := 0
	c := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusRequestTimeout)
			_, _ = io.WriteString(w, `{"detail":"Timeout waiting for job"}`)
			return
		}
		_ = json.NewEncoder(w).Encode(job.FullAnswer{RecordAnswer: job.RecordAnswer{ExecutionID: "x", Status: job.Succeeded}})
	})
	if r, err := c.Result(t.Context(), "x"); err != nil || r.Status != job.Succeeded || asked != 3 {
		t.Errorf("%+v, %v after %d", r, err, asked)
	}
}

// A stream that breaks is taken up after its last event; one without a result is an error, never an
// end.
func TestEvents(t *testing.T) {
	const end = "id: 9\nevent: result\ndata: {\"execution_id\":\"x\",\"status\":\"succeeded\"}\n\n"
	read := func(c *Client) (story string, err error) {
		for e, err := range c.Events(t.Context(), "x") {
			if err != nil {
				return story, err
			}
			story += fmt.Sprint(e.ID, e.Kind, e.Text, " ")
			if e.Kind == job.EventResult && e.Record.Status != job.Succeeded {
				t.Errorf("record %+v", e.Record)
			}
		}
		return story, nil
	}
	var after []string
	answers := []string{
		": alive\n\nid: 1\nevent: queued\ndata: {}\n\nid: 2\nevent: stdout\ndata: {\"text\":\"a\\n\"}\n\nid: 3\nevent: stdo", // broken off in an event
		"id: 3\nevent: stderr\ndata: {\"text\":\"é\"}\n\n",
		"id: 7\nevent: gap\ndata: {\"detail\":\"lost\"}\n\n" + end,
	}
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		after = append(after, r.Header.Get("Last-Event-ID"))
		_, _ = io.WriteString(w, answers[0])
		answers = answers[1:]
	})
	if story, err := read(c); err != nil || story != "1queued 2stdouta\n 3stderré 7gap 9result " || strings.Join(after, ",") != ",2,3" {
		t.Errorf("%q, %v, asked after %v", story, err, after)
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"not found": func(w http.ResponseWriter) { w.WriteHeader(404) },
		"refused":   func(w http.ResponseWriter) { w.WriteHeader(422) },
	} {
		c := answering(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
		_, err := read(c)
		if e := new(Error); !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One that never says anything new is given up, and so is one whose reader has gone.
	c = answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: error\ndata: {\"detail\":\"The stream broke\"}\n\n")
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Events(ctx, "x") {
		if err == nil {
			t.Error("a broken stream told something")
		}
	}
}
