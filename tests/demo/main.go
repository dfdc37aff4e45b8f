// Command demo is what `make demo` runs: against a tsubod that is already serving, it runs one
// honest job and then hostile ones, prints what came of each, and then shows that nothing is left
// on the host. It exits 1 when a row is not as it should be.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tsubo-run/tsubo/tests/hoststate"
)

func main() {
	socket := flag.String("socket", "/run/tsubo/tsubo.sock", "socket of the running tsubod")
	pid := flag.Int("pid", 0, "pid of the running tsubod")
	runDir := flag.String("run-dir", "/run/tsubo", "run_dir of the running tsubod")
	jobs := flag.String("jobs-cgroup", "", "host path of the cgroup that holds the leaves; empty on a host without cgroup v2")
	out := flag.String("out", "demo.json", "file for the full result behind each row")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *socket, hoststate.Where{PID: *pid, RunDir: *runDir, JobsPath: *jobs}, *out); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// result is the part of an /execute answer that the demo looks at; the whole answer goes into
// demo.json.
type result struct {
	Success   bool            `json:"success"`
	Output    json.RawMessage `json:"output"`
	Stdout    string          `json:"stdout"`
	Stderr    string          `json:"stderr"`
	ExitCode  *int            `json:"exit_code"`
	Error     *string         `json:"error"`
	Status    string          `json:"status"`
	Artifacts []struct {
		Name string `json:"name"`
	} `json:"artifacts"`
	Enforced struct {
		Memory bool `json:"memory"`
		PIDs   bool `json:"pids"`
		CPU    bool `json:"cpu"`
	} `json:"enforced"`
}

type row struct {
	name    string
	request map[string]any
	needs   func(result) bool   // what the host must enforce for this row to mean anything; nil: nothing
	check   func(result) string // "" when it is as it should be
}

func rows() []row {
	return []row{
		{name: "hello: input, result, artifact", request: map[string]any{"code": helloCode, "input_data": map[string]any{"name": "tsubo", "n": 20}},
			check: func(r result) string {
				var got struct {
					Greeting string `json:"greeting"`
					Sum      int    `json:"sum"`
				}
				if err := json.Unmarshal(r.Output, &got); err != nil || got.Greeting != "hello, tsubo" || got.Sum != 190 {
					return "the result is not what the code computed"
				}
				if !hasArtifact(r, "squares.csv") {
					return "the artifact squares.csv is missing"
				}
				return wantStatus(r, "succeeded")
			}},
		{name: "network attempt", request: map[string]any{"code": networkCode}, check: func(r result) string {
			if !strings.Contains(r.Stdout, "unreachable") || strings.Contains(r.Stdout, "CONNECTED") {
				return "the network answered"
			}
			return wantStatus(r, "succeeded")
		}},
		{name: "write outside /output", request: map[string]any{"code": writeCode}, check: func(r result) string {
			if strings.Contains(r.Stdout, "WROTE") || !strings.Contains(r.Stdout, "Read-only file system") {
				return "a write got through"
			}
			return wantStatus(r, "succeeded")
		}},
		{name: "fork bomb", request: map[string]any{"code": forkCode, "timeout": 300}, check: func(r result) string {
			if !strings.Contains(r.Stdout, "EAGAIN") {
				return "no fork was refused"
			}
			return wantStatus(r, "succeeded")
		}},
		{name: "memory bomb", request: map[string]any{"code": memoryCode, "timeout": 120, "job_type": "small"},
			needs: func(r result) bool { return r.Enforced.Memory },
			check: func(r result) string { return wantStatus(r, "oom") }},
		{name: "endless loop", request: map[string]any{"code": "print('looping', flush=True)\nwhile True: pass", "timeout": 3}, check: func(r result) string {
			if r.Stdout != "looping\n" {
				return "partial output was lost"
			}
			return wantStatus(r, "timeout")
		}},
		{name: "output flood", request: map[string]any{"code": floodCode, "timeout": 120}, check: func(r result) string {
			if len(r.Stdout) > 64<<10 || !strings.Contains(r.Stdout, "[TRUNCATED: output exceeded") {
				return fmt.Sprintf("%d bytes came back", len(r.Stdout))
			}
			return wantStatus(r, "succeeded")
		}},
	}
}

func wantStatus(r result, want string) string {
	if r.Status != want {
		return fmt.Sprintf("status %s, want %s", r.Status, want)
	}
	return ""
}

func hasArtifact(r result, name string) bool {
	for _, a := range r.Artifacts {
		if a.Name == name {
			return true
		}
	}
	return false
}

// record is one entry of demo.json.
type record struct {
	Row      string          `json:"row"`
	Contract string          `json:"verdict"`
	Seconds  float64         `json:"seconds"`
	Result   json.RawMessage `json:"result"`
}

func run(ctx context.Context, socket string, where hoststate.Where, out string) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	before, err := hoststate.Take(where)
	if err != nil {
		return err
	}
	var report struct {
		Rows   []record        `json:"rows"`
		Before hoststate.State `json:"before"`
		After  hoststate.State `json:"after"`
		Leaked []string        `json:"leaked"`
	}
	report.Before = before
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROGRAM\tSTATUS\tEXIT\tSECONDS\tWHAT CAME OF IT\tVERDICT")
	failed := 0
	for _, row := range rows() {
		start := time.Now()
		body, r, err := execute(ctx, client, row.request)
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		took := time.Since(start).Seconds()
		verdict := "as it should be"
		if row.needs != nil && !row.needs(r) {
			verdict = "not enforced on this host"
			failed++
		} else if wrong := row.check(r); wrong != "" {
			verdict = "WRONG: " + wrong
			failed++
		}
		report.Rows = append(report.Rows, record{Row: row.name, Contract: verdict, Seconds: took, Result: body})
		exit := "-"
		if r.ExitCode != nil {
			exit = fmt.Sprint(*r.ExitCode)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%s\t%s\n", row.name, r.Status, exit, took, summary(r), verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	client.CloseIdleConnections()
	after, err := hoststate.Settle(where, before, 8, 20*time.Second)
	if err != nil {
		return err
	}
	report.After, report.Leaked = after, hoststate.Grown(before, after, 8)
	fmt.Println("\nLeft on the host, before and after:")
	left := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(left, "\tprocesses\tleaves\tnamespaces\tmounts\trunsc files\tbundles\tdescriptors")
	for _, s := range []struct {
		name string
		hoststate.State
	}{{"before", before}, {"after", after}} {
		fmt.Fprintf(left, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", s.name, s.Processes, s.Leaves, s.Namespaces, s.Mounts, s.RunscFiles, s.Bundles, s.FDs)
	}
	if err := left.Flush(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(data, '\n'), 0o644); err != nil { //nolint:gosec // for whoever ran it
		return err
	}
	if len(report.Leaked) > 0 {
		return errors.New("leaked: " + strings.Join(report.Leaked, ", "))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d rows are not as they should be", failed, len(report.Rows))
	}
	fmt.Printf("\n%d programs ran, each as it should, and nothing is left.\n", len(report.Rows))
	return nil
}

func execute(ctx context.Context, client *http.Client, request map[string]any) (json.RawMessage, result, error) {
	var r result
	body, err := json.Marshal(request)
	if err != nil {
		return nil, r, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://tsubo/execute", bytes.NewReader(body))
	if err != nil {
		return nil, r, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, r, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, r, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer, r, fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return answer, r, json.Unmarshal(answer, &r)
}

// summary is the last line that the program printed, or why it ended, short enough for a table.
func summary(r result) string {
	text := strings.TrimSpace(r.Stdout)
	if r.Error != nil && *r.Error != "" {
		text = *r.Error
	} else if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	if len(text) > 60 {
		text = text[:57] + "..."
	}
	return text
}
