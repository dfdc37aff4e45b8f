package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/store"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tsubo": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the command against package api with the test's own executor and catalogue.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			dir, err := os.MkdirTemp("", "cli") // the script's directory may be too long for a socket path
			if err != nil {
				return err
			}
			e.Defer(func() { _ = os.RemoveAll(dir) })
			socket := filepath.Join(dir, "s")
			e.Setenv("TSUBO_SOCKET", socket)
			e.Setenv("TSUBO_CONFIG", "")
			// A txtar file must be UTF-8; this file is not.
			if err := os.WriteFile(filepath.Join(e.WorkDir, "latin1"), []byte("print('\xe9')"), 0o600); err != nil {
				return err
			}
			hanging := make(chan struct{}, 1)
			e.Values["hanging"] = hanging
			return serve(e, socket, scripted{hanging})
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// status N ARGS: tsubo ARGS must end with exit status N.
			"status": func(ts *testscript.TestScript, _ bool, args []string) {
				code := 0
				var exit *exec.ExitError
				if err := ts.Exec("tsubo", args[1:]...); errors.As(err, &exit) {
					code = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("tsubo %s: exit status %d, want %s", args[1:], code, args[0])
				}
			},
			// submitted NAME ARGS: tsubo submit ARGS, whose job ID becomes the variable NAME.
			"submitted": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Exec("tsubo", append([]string{"submit"}, args[1:]...)...))
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
			},
			// running waits until the program hang runs.
			"running": func(ts *testscript.TestScript, _ bool, _ []string) { <-ts.Value("hanging").(chan struct{}) },
		},
	})
}

func serve(e *testscript.Env, socket string, programs scripted) error {
	python := job.Type{Name: "default", Image: "python", Language: job.Python, Timeout: 30 * time.Second,
		StartupTimeout: time.Minute, Limits: job.Limits{Memory: job.MiB, Stdout: 1000, Stderr: 1000}}
	other := python
	other.Name = "other"
	node := python
	node.Name, node.Language = "node", job.Node
	file, err := keys.Open(socket + ".keys")
	if err != nil {
		return err
	}
	records, err := store.Open(context.Background(), store.Config{Dir: socket + ".data"})
	if err != nil {
		return err
	}
	e.Defer(func() { closing(e, records.Close()) })
	queue, err := scheduler.New(scheduler.Options{
		Runner: programs, Store: records, Budget: 1 << 40, Workers: 2, Queue: 5, Runtime: "runsc",
		Resolve: func(*job.Record, *job.Request) (*job.Spec, error) { return nil, job.ErrNotFound },
	})
	if err == nil {
		err = queue.Start(context.Background())
	}
	if err != nil {
		return err
	}
	e.Defer(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		closing(e, queue.Stop(ctx))
	})
	server, err := api.New(api.Options{
		Version: "1", Runtime: "runsc", Jobs: jobs{queue, programs}, Store: records, Images: &catalogue{},
		Keys: keyFile{file}, Facts: func() api.Facts { return api.Facts{Ready: true, GVisor: true} },
		Policy: api.Policy{
			Policy: job.Policy{
				Types:          map[string]job.Type{"default": python, "other": other, "node": node},
				DefaultTimeout: 30 * time.Second, DefaultStartupTimeout: time.Minute,
				MaxTimeout: 300 * time.Second, MaxStartupTimeout: 600 * time.Second, MaxCodeBytes: 1000,
				MaxInputBytes: 1000,
			},
			MaxPayloadBytes: 1 << 20, MaxArchiveBytes: 1 << 20, AdminUIDs: []uint32{uint32(os.Getuid())},
		},
	})
	if err != nil {
		return err
	}
	l, err := api.Listen(api.ListenOptions{Path: socket})
	if err != nil {
		return err
	}
	h := server.HTTP()
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	e.Defer(func() {
		if err := h.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			e.T().Fatal(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			e.T().Fatal(err)
		}
	})
	return nil
}

// scripted is an executor whose programs are the JSON of their own result or a known word.
type scripted struct{ hanging chan struct{} }

func closing(e *testscript.Env, err error) {
	if err != nil {
		e.T().Fatal(err)
	}
}

// jobs is a real queue; for the program full it is full.
type jobs struct {
	*scheduler.Scheduler
	programs scripted
}

func (j jobs) Execute(ctx context.Context, sub job.Submission, keep bool,
	watch func(iter.Seq[job.Event])) (*job.Record, *job.Result, error) {
	if strings.TrimSpace(sub.Spec.Code) == "full" {
		result, err := j.programs.run(ctx, sub.Spec)
		return sub.Record, result, err
	}
	return j.Scheduler.Execute(ctx, sub, keep, watch)
}

// Run implements scheduler.Runner.
func (e scripted) Run(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error) {
	o.Started()
	if strings.TrimSpace(s.Code) == "talkhang" {
		o.Stdout([]byte("begun\n"))
		time.Sleep(time.Second) // the caller prints the output meanwhile
		e.hanging <- struct{}{}
		<-ctx.Done()
	}
	r, err := e.run(ctx, s)
	switch {
	case r != nil:
		o.Stdout([]byte(r.Stdout))
		o.Stderr([]byte(r.Stderr))
	case ctx.Err() != nil:
		v := job.Classify(job.Facts{Cause: job.CancelRequested, Phase: job.PhaseExecution})
		r, err = &job.Result{Status: v.Status, Error: v.Error}, nil
	}
	return r, err
}

func (e scripted) run(ctx context.Context, s *job.Spec) (*job.Result, error) {
	zero := 0
	switch code := strings.TrimSpace(s.Code); code {
	case "files":
		out := s.Filename + "\n"
		for kind, list := range map[string][]job.File{"code": s.CodeFiles, "input": s.Files} {
			for _, f := range list {
				out += fmt.Sprintf("%s %s %q\n", kind, f.Name, f.Data)
			}
		}
		return &job.Result{Status: job.Succeeded, ExitCode: &zero, Stdout: out}, nil
	case "spec":
		return &job.Result{Status: job.Succeeded, ExitCode: &zero,
			Stdout: fmt.Sprintf("%s %s %s\n", s.Type, s.Timeout, s.Input)}, nil
	case "full":
		return nil, &job.Refusal{Reason: job.QueueFull, Message: "Job queue is full, try again later",
			RetryAfter: 2 * time.Second}
	case "hang":
		e.hanging <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		r := new(job.Result)
		if err := json.Unmarshal([]byte(code), r); err != nil {
			return nil, fmt.Errorf("test program: %w", err)
		}
		for i, a := range r.Artifacts {
			if a.SHA256 == "" {
				sum := sha256.Sum256(a.Data)
				r.Artifacts[i].Size, r.Artifacts[i].SHA256 = int64(len(a.Data)), hex.EncodeToString(sum[:])
			}
		}
		return r, nil
	}
}

// catalogue accepts archives that contain an index.json.
type catalogue struct{ images []job.Image }

func (c *catalogue) List(context.Context) ([]job.Image, error) { return c.images, nil }

func (c *catalogue) Import(_ context.Context, name string, archive io.Reader) (job.Image, error) {
	var names []string
	in := tar.NewReader(archive)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return job.Image{}, job.Refuse(job.Invalid, "no archive")
		}
		names = append(names, h.Name)
	}
	if !slices.Contains(names, "index.json") {
		return job.Image{}, job.Refuse(job.Invalid, "the archive has no index.json")
	}
	image := job.Image{Name: name, Digest: fmt.Sprintf("sha256:%d-files", len(names)), Rootfs: "erofs", SizeBytes: 5,
		CreatedAt: time.Unix(0, 0)}
	c.images = append(c.images, image)
	return image, nil
}

func TestInterleave(t *testing.T) {
	app := (&tool{}).app()
	for in, want := range map[string]string{
		"tsubo":                                       "tsubo",
		"tsubo run a.py":                              "tsubo run -- a.py",
		"tsubo run a.py --timeout 5 --json":           "tsubo run --timeout 5 --json -- a.py",
		"tsubo run --json a.py --input={}":            "tsubo run --json --input={} -- a.py",
		"tsubo run - --job-type x":                    "tsubo run --job-type x -- -",
		"tsubo run -- --json":                         "tsubo run -- --json",
		"tsubo run a.py --timeout":                    "tsubo run --timeout -- a.py",
		"tsubo images --socket run import p --name n": "tsubo images --socket run import --name n -- p",
		"tsubo images import p --socket s -- -x":      "tsubo images import --socket s -- p -x",
		"tsubo nonsense --json x":                     "tsubo nonsense --json x",
		"tsubo --help run":                            "tsubo --help run",
		"tsubo images --socket":                       "tsubo images --socket",
	} {
		if got := strings.Join(interleave(app, strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A hostile artifact name or body never leaves the directory, follows a link or overwrites a file.
func TestSaveArtifacts(t *testing.T) {
	base := t.TempDir()
	witness := filepath.Join(base, "witness")
	out := filepath.Join(base, "out")
	if err := errors.Join(os.WriteFile(witness, []byte("keep"), 0o600), os.Mkdir(out, 0o700),
		os.Symlink(witness, filepath.Join(out, "link")),
		os.Symlink(filepath.Join(base, "new"), filepath.Join(out, "dangling")),
		os.WriteFile(filepath.Join(out, "old"), []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	dir, err := openDir(out)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	artifact := func(name, data string) job.ArtifactAnswer {
		sum := sha256.Sum256([]byte(data))
		return job.ArtifactAnswer{Name: name, SizeBytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]),
			Data: []byte(data)}
	}
	bad := []job.ArtifactAnswer{{Name: "forged", SizeBytes: 3, SHA256: strings.Repeat("0", 64), Data: []byte("abc")},
		{Name: "short", SizeBytes: 9, Data: nil}}
	for _, name := range []string{"", ".", "..", "../witness", "/etc/x", "a/b", "a\\b", "a\x00b", ".hidden", "link",
		"dangling", "old", strings.Repeat("a", 256), "\xff"} {
		bad = append(bad, artifact(name, "evil"))
	}
	var errOut bytes.Buffer
	tl := &tool{out: io.Discard, err: &errOut}
	note, wrong := "stopped at the byte limit\x1b[1m\n", "result.json: \x1b"
	tl.report(&job.ExecuteAnswer{ArtifactsSkipped: []job.Skipped{{Name: "sub\x1b[0m", Reason: "a directory"}},
		ArtifactsNote: &note, OutputError: &wrong}, false, "")
	note = "stopped at the byte limit"
	err = tl.save(dir, append(bad, artifact("good.txt", "good"), artifact("empty", "")))
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != //nolint:errorlint,forcetypeassert // joined in save
		len(bad) {
		t.Errorf("%d of %d refused: %v", n, len(bad), err)
	}
	if strings.Contains(errOut.String(), "\x1b") || !strings.Contains(errOut.String(), "a directory") ||
		!strings.Contains(errOut.String(), note) {
		t.Errorf("said %q", errOut.String())
	}
	for path, want := range map[string]string{witness: "keep", filepath.Join(out, "old"): "old",
		filepath.Join(out, "good.txt"): "good", filepath.Join(out, "empty"): ""} {
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 5 {
		t.Errorf("left %v, %v", entries, err)
	}
	if _, err := os.Lstat(filepath.Join(base, "new")); err == nil {
		t.Error("a dangling link was followed")
	}
}

// keyFile adapts a real file of API keys to api.Keys.
type keyFile struct{ *keys.File }

func (f keyFile) Create(name string, admin bool, expires time.Time) (string, job.APIKey, error) {
	text, k, err := f.File.Create(name, admin, expires)
	return text, keyShown(k), err
}

func (f keyFile) List() (all []job.APIKey) {
	for _, k := range f.File.List() {
		all = append(all, keyShown(k))
	}
	return all
}

func (f keyFile) Revoke(id string) error {
	if err := f.File.Revoke(id); errors.Is(err, keys.ErrNotFound) {
		return job.ErrNotFound
	}
	return nil
}

func keyShown(k keys.Key) job.APIKey {
	role := map[bool]string{true: "admin", false: "user"}[k.Admin]
	return job.APIKey{ID: k.ID, Name: k.Name, Role: role, CreatedAt: job.Stamp(k.CreatedAt),
		ExpiresAt: job.StampOf(k.ExpiresAt), LastUsedAt: job.StampOf(k.LastUsedAt)}
}
