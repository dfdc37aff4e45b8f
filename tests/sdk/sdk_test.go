package sdk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/store"
)

// The client's requests over TCP, with everything real but the sandbox.
func TestShapes(t *testing.T) {
	dir := t.TempDir()
	records, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	policy := api.Policy{
		Policy: job.Policy{
			Types: map[string]job.Type{"default": {
				Name: "default", Image: "python", Language: job.Python, Timeout: 30 * time.Second, StartupTimeout: time.Minute,
				Limits: job.Limits{Memory: 512 * job.MiB, CPU: 1, Stdout: 65536, Stderr: 65536},
			}},
			DefaultTimeout: 30 * time.Second, DefaultStartupTimeout: time.Minute, MaxTimeout: 300 * time.Second, MaxStartupTimeout: 600 * time.Second,
			MaxCodeBytes: 102400, MaxInputBytes: 1 << 20,
		},
		MaxPayloadBytes: 2 << 20, MaxArchiveBytes: 1 << 20, Auth: api.Auth{LoopbackRole: api.LoopbackAdmin},
	}
	jobs, err := scheduler.New(scheduler.Options{
		Runner: native{}, Store: records, Budget: 4096 * job.MiB, Workers: 2, Queue: 100, Runtime: "runsc",
		Resolve: func(rec *job.Record, req *job.Request) (*job.Spec, error) {
			return policy.Spec(req, rec.ID, rec.Caller)
		},
	})
	if err == nil {
		err = jobs.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Options{
		Version: "1", Runtime: "runsc", Policy: policy, Jobs: jobs, Store: records, Images: noImages{}, Keys: noKeys{},
		Facts: func() api.Facts { return api.Facts{Ready: true, GVisor: true, Breaker: jobs.Breaker()} },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := api.ListenTCP(api.TCPOptions{Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	h := server.HTTP()
	served := make(chan error, 1)
	go func() { served <- h.Serve(listener) }()
	err = Run("http://" + listener.Addr().String())
	if closed := h.Close(); err != nil || closed != nil {
		t.Error(err, closed)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if err := errors.Join(jobs.Stop(t.Context()), records.Close()); err != nil {
		t.Error(err)
	}
}

// native runs a program of this test's with the interpreter of the host, in a folder that stands
// for the sandbox's root.
type native struct{}

func (native) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	root, err := os.MkdirTemp("", "sdk")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	output := filepath.Join(root, "output")
	if err := errors.Join(os.Mkdir(output, 0o700), os.Mkdir(filepath.Join(root, "input"), 0o700), os.WriteFile(filepath.Join(root, "input", "data.json"), s.Input, 0o600)); err != nil {
		return nil, err
	}
	code := strings.NewReplacer("/input/", root+"/input/", "/output/", root+"/output/").Replace(s.Code)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-I", "-u", "-c", code)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := &job.Result{StartedAt: time.Now(), Enforced: job.Enforced{Runtime: "runsc"}}
	o.Started()
	facts := job.Facts{Phase: job.PhaseExecution, Timeout: s.Timeout}
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		facts.Cause = job.CancelRequested
	case errors.As(err, &exit):
		facts.ExitCode, facts.Stderr = exit.ExitCode(), []byte(stderr.String())
	case err != nil:
		return nil, err
	}
	v := job.Classify(facts)
	r.Status, r.ExitCode, r.Error, r.Stdout, r.Stderr, r.EndedAt = v.Status, v.ExitCode, v.Error, stdout.String(), stderr.String(), time.Now()
	entries, err := os.ReadDir(output)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(output, e.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		r.Artifacts = append(r.Artifacts, job.Artifact{Name: e.Name(), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Data: data})
		if e.Name() == "result.json" {
			r.Output, r.OutputError = job.ParseOutput(data)
		}
	}
	return r, nil
}

type noImages struct{ api.Images }

func (noImages) List(context.Context) ([]job.Image, error) { return nil, nil }

type noKeys struct{ api.Keys }

func (noKeys) List() []job.APIKey { return nil }
