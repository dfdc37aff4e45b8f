package sandbox

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

func testShape() Shape {
	return Shape{
		Root:   rootfs.Root{Key: "sha256:a", Kind: rootfs.EROFS, Path: "/roots/a"},
		Config: job.ImageConfig{Env: []string{"A=1"}, WorkingDir: "/"}, Language: job.Python,
		Environment: map[string]string{"B": "2"}, Preload: []string{"json"},
		Limits: job.Limits{
			Memory: 64 * job.MiB, CPU: 1, PIDs: 10, NProc: job.Rlimit{Soft: 20, Hard: 20},
			NoFile: job.Rlimit{Soft: 5, Hard: 6}, FSize: 7,
			Tmp: 8, Output: 9, SharedMemory: 10, Stdout: 11, Stderr: 12, Artifact: 13, ArtifactsTotal: 14,
			Artifacts: 15,
		},
	}
}

func TestKeyTellsShapesApart(t *testing.T) {
	keys := map[string]string{testShape().Key(): "unchanged"}
	for name, change := range map[string]func(s *Shape){
		"root":              func(s *Shape) { s.Root.Key = "sha256:b" },
		"kind of root":      func(s *Shape) { s.Root.Kind = rootfs.Directory },
		"path of root":      func(s *Shape) { s.Root.Path = "/roots/b" },
		"image environment": func(s *Shape) { s.Config.Env = []string{"A=2"} },
		"image directory":   func(s *Shape) { s.Language, s.Config.WorkingDir = job.Command, "/srv" },
		"working directory": func(s *Shape) { s.Workdir = "/srv" },
		"of a command":      func(s *Shape) { s.Language, s.Workdir = job.Command, "/srv" },
		"language":          func(s *Shape) { s.Language = job.Node },
		"command":           func(s *Shape) { s.Command = []string{"a", "b"} },
		"command in one":    func(s *Shape) { s.Command = []string{"a b"} },
		"command for env":   func(s *Shape) { s.Command, s.Environment = []string{"B=2"}, nil },
		"environment":       func(s *Shape) { s.Environment = map[string]string{"B": "3"} },
		"not unicode":       func(s *Shape) { s.Environment = map[string]string{"B": "\xfe"} },
		"not unicode 2":     func(s *Shape) { s.Environment = map[string]string{"B": "\xff"} },
		"preload":           func(s *Shape) { s.Preload = []string{"json", "re"} },
		"memory":            func(s *Shape) { s.Limits.Memory++ },
		"guest CPUs":        func(s *Shape) { s.Limits.CPU = 2.5 },
		"pids":              func(s *Shape) { s.Limits.PIDs = 9 },
		"nproc":             func(s *Shape) { s.Limits.NProc.Soft = 4 },
		"nofile":            func(s *Shape) { s.Limits.NoFile.Soft = 4 },
		"nofile, hard":      func(s *Shape) { s.Limits.NoFile.Hard = 7 },
		"fsize":             func(s *Shape) { s.Limits.FSize++ },
		"tmp":               func(s *Shape) { s.Limits.Tmp++ },
		"output":            func(s *Shape) { s.Limits.Output++ },
		"shared memory":     func(s *Shape) { s.Limits.SharedMemory++ },
	} {
		s := testShape()
		change(&s)
		if other, ok := keys[s.Key()]; ok {
			t.Errorf("%s: the same key as %s", name, other)
		}
		keys[s.Key()] = name
	}
	for name, change := range map[string]func(s *Shape){
		"background":   func(s *Shape) { s.Background, s.Hurry = true, make(chan struct{}) },
		"cpu quota":    func(s *Shape) { s.Limits.CPU = 0.5 },
		"caps":         func(s *Shape) { s.Limits.Stdout, s.Limits.Artifacts = 1, 1 },
		"copied":       func(s *Shape) { s.Environment = maps.Clone(s.Environment) },
		"directory":    func(s *Shape) { s.Config.WorkingDir = "/srv" }, // only commands use it
		"no command":   func(s *Shape) { s.Command = []string{} },
		"size on disk": func(s *Shape) { s.Root.Size = 1 },
	} {
		s := testShape()
		change(&s)
		if keys[s.Key()] != "unchanged" {
			t.Errorf("%s: another key", name)
		}
	}
}

// TestKeyKnowsEveryField fails on every new field of a shape or its limits, so that its author
// considers Key.
func TestKeyKnowsEveryField(t *testing.T) {
	if n, l := reflect.TypeFor[Shape]().NumField(), reflect.TypeFor[job.Limits]().NumField(); n != 10 || l != 14 {
		t.Errorf("Shape has %d fields and job.Limits %d: handle the new fields in Key, then update this test", n, l)
	}
}

// An image's variable that no shell could set reaches the job. An image's HOME does not.
func TestEnvironmentOfImage(t *testing.T) {
	s := Shape{
		Config: job.ImageConfig{Env: []string{"discovery.type=x", "BASH_FUNC_x%%=() {\n}", "HOME=/root", "PATH=/opt"}},
	}
	want := []string{
		"BASH_FUNC_x%%=() {\n}",
		"HOME=/tmp/home",
		"MPLCONFIGDIR=/tmp/home/.cache/matplotlib",
		"PATH=/opt",
		"XDG_CACHE_HOME=/tmp/home/.cache",
		"discovery.type=x",
	}
	if got := s.environment(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWaiting(t *testing.T) {
	s, g := newGuest(t)
	if err := s.Waiting(); err != nil {
		t.Errorf("while it waits: %v", err)
	}
	if err := g.w.Send(frames.Stdout("x")); err != nil {
		t.Fatal(err)
	}
	if s.Waiting() == nil {
		t.Error("waiting, although the guest sent data")
	}
	if err := s.reader.Fill(); err != nil {
		t.Fatal(err)
	}
	if s.Waiting() == nil {
		t.Error("waiting, although the guest sent data that was read")
	}

	s, g = newGuest(t)
	g.f.Close()
	if s.Waiting() == nil {
		t.Error("waiting, although the guest ended")
	}

	s, _ = newGuest(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx, testSpec(), time.Now(), nil); err == nil {
		t.Fatal("a cancelled run ran")
	}
	if s.Waiting() == nil {
		t.Error("waiting, although used")
	}

	s, _ = newGuest(t)
	if err := s.control.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Waiting() == nil {
		t.Error("waiting, although its socket is closed")
	}
	if s.control = nil; s.Waiting() == nil {
		t.Error("waiting, although destroyed")
	}
}

// After Run, a late timer or callback does not touch the sandbox: Destroy may run on another
// goroutine.
func TestNothingGoesOnAfterRun(t *testing.T) {
	s, g := newGuest(t)
	go func() {
		_ = g.await(frames.TypeGo)
		_ = g.w.Send(frames.Started{}, frames.Exit{}, frames.Done{})
	}()
	r := &run{s: s, spec: testSpec(), watch: nobody{}, turn: time.Now()}
	if err := r.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.finish()
	r.s = nil // any use of the sandbox panics now
	r.end(job.Overrun)
	r.kill()
	if r.cause != job.OwnEnd {
		t.Errorf("cause %v after the end", r.cause)
	}
}
