package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/guest/hook"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/seccomp"
	"github.com/tsubo-run/tsubo/tests/need"
)

func TestMain(m *testing.M) {
	rootfs.MaybeChild()
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	os.Exit(code)
}

var atExit []func()

// world holds the roots that all tests with a real runsc in this process share.
type world struct {
	dir                  string
	roots                *rootfs.Store
	guest, empty, canary rootfs.Root
	images               *images.Catalogue
	err                  error
}

var makeWorld = sync.OnceValue(func() *world {
	w := &world{}
	w.err = w.make()
	return w
})

func (w *world) make() (err error) {
	if w.dir, err = os.MkdirTemp("", "tsubo"); err != nil {
		return err
	}
	atExit = append(atExit, func() { _ = os.RemoveAll(w.dir) })
	if err := os.Chmod(w.dir, 0o711); err != nil { // layers are unpacked by another user
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if w.roots, err = rootfs.Open(filepath.Join(w.dir, "rootfs"), rootfs.Options{Logger: log}); err != nil {
		return err
	}
	if w.images, err = images.Open(filepath.Join(w.dir, "images"), w.roots, images.Options{Logger: log}); err != nil {
		return err
	}
	init := os.Getenv("TSUBO_INIT")
	if init == "" {
		init, _ = exec.LookPath("tsubo-init") // in the VM, where there is no toolchain
	}
	if init == "" {
		init = filepath.Join(w.dir, "tsubo-init")
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", init, "../cmd/tsubo-init")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build tsubo-init: %w\n%s", err, out)
		}
	}
	data, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	guest := map[string]rootfs.GuestFile{"tsubo-init": {Mode: 0o755, Data: data}}
	for name, data := range hook.Files() {
		guest[name] = rootfs.GuestFile{Mode: 0o444, Data: data}
	}
	canary := map[string]rootfs.GuestFile{CanaryRoot: {Mode: os.ModeDir | 0o777}}
	for name, mode := range rootfs.MountPoints() {
		canary[name] = rootfs.GuestFile{Mode: os.ModeDir | mode}
	}
	for key, tree := range map[string]struct {
		files map[string]rootfs.GuestFile
		root  *rootfs.Root
	}{"guest:test": {guest, &w.guest}, EmptyKey: {EmptyTree(), &w.empty}, "canary": {canary, &w.canary}} {
		if *tree.root, err = w.roots.BuildTree(context.Background(), key, tree.files); err != nil {
			return err
		}
	}
	return nil
}

// realHost returns a host with the real runsc, $TSUBO_RUNSC or the first on PATH, the sentry
// $TSUBO_SENTRY if set, and no leaves. It fails the test if anything of a sandbox is left
// afterwards.
func realHost(t *testing.T) (*Host, *world) {
	t.Helper()
	path := need.Runsc(t)
	_, err := exec.LookPath("mkfs.erofs")
	need.That(t, "erofs", err == nil)
	w := makeWorld()
	if w.err != nil {
		t.Fatal(w.err)
	}
	bin, err := runsc.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if sentry := os.Getenv("TSUBO_SENTRY"); sentry != "" {
		if err := bin.UseSentry(t.Context(), sentry); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "tsubo") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := bin.UseRoot(filepath.Join(dir, "r")); err != nil {
		t.Fatal(err)
	}
	bin.Flags.IgnoreCgroups = true
	if err := runsc.BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	h := &Host{
		Runsc: bin, Netns: netns.NewStock(1), Guest: w.guest, Empty: w.empty, Seccomp: seccomp.Profile(),
		Dir: filepath.Join(dir, "s"),
		Log: slog.New(slog.DiscardHandler),
	}
	if err := os.Mkdir(h.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pids, err := bin.AllProcesses(); err != nil || len(pids) > 0 {
			t.Errorf("processes left: %v, %v", pids, err)
		}
		for _, left := range []string{bin.Root, h.Dir} {
			entries, err := os.ReadDir(left)
			if err != nil || len(entries) > 0 {
				t.Errorf("left in %s: %v, %v", left, entries, err)
			}
		}
		if err := h.Netns.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, w
}

// python returns the root and the configuration of the Python image.
func (w *world) python(t *testing.T) *images.Use {
	t.Helper()
	for _, dir := range []string{
		os.Getenv("TSUBO_PYTHON_IMAGE"), "../build/images/python", "/opt/tsubo/images/python",
	} {
		if _, err := os.Stat(filepath.Join(dir, "oci-layout")); dir == "" || err != nil {
			continue
		}
		if _, err := w.images.Resolve("python"); err != nil {
			if _, err := w.images.ImportLayout(t.Context(), "python", dir); err != nil {
				t.Fatal(err)
			}
		}
		use, err := w.images.Use("python")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(use.Release)
		return use
	}
	need.That(t, "python-image", false)
	return nil
}

func realLimits() job.Limits {
	task := job.Rlimit{Soft: 30, Hard: 40}
	return job.Limits{
		Memory: 128 * job.MiB, CPU: 1, PIDs: 100, NProc: task, NoFile: job.Rlimit{Soft: 64, Hard: 128},
		FSize: 3 * job.MiB,
		Tmp:   job.MiB, Output: 2 * job.MiB, SharedMemory: 4 * job.MiB,
		Stdout: job.MiB, Stderr: job.MiB, Artifact: job.MiB, ArtifactsTotal: job.MiB, Artifacts: 10,
	}
}

// tier is one way to boot a sandbox.
type tier func(t *testing.T, h *Host, shape Shape) (*Sandbox, error)

var tiers = map[string]tier{
	"cold": func(t *testing.T, h *Host, shape Shape) (*Sandbox, error) { return h.Boot(t.Context(), shape) },
	"hot": func(t *testing.T, h *Host, shape Shape) (*Sandbox, error) {
		shape.Background = true
		s, err := h.Boot(t.Context(), shape)
		if err == nil {
			time.Sleep(time.Second) // let the sandbox do its idle work, if any
			err = s.Waiting()
		}
		return s, err
	},
	"warm": func(t *testing.T, h *Host, shape Shape) (*Sandbox, error) {
		sentry, err := h.BootSentry(t.Context(), SizeOf(shape.Limits))
		if err != nil {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
		return sentry.Add(t.Context(), shape)
	},
}

// boot returns a sandbox of a tier. The sandbox is destroyed after the test.
func boot(t *testing.T, by tier, h *Host, shape Shape) *Sandbox {
	t.Helper()
	s, err := by(t, h, shape)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // idempotent
			if err := s.Destroy(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	if err := s.Waiting(); err != nil {
		t.Error(err)
	}
	return s
}

func pythonShape(t *testing.T, w *world) Shape {
	use := w.python(t)
	return Shape{
		Root: use.Root, Config: use.Config, Language: job.Python, Environment: map[string]string{"OF_TYPE": "1"},
		Limits: realLimits(),
	}
}

func pythonSpec(code string) *job.Spec {
	return &job.Spec{
		ID: "test", Language: job.Python, Filename: "main.py", Code: code, Input: []byte(`{"a":1}`),
		Args: []string{"x"}, Environment: map[string]string{"OF_JOB": "1"},
		Limits: realLimits(), Timeout: time.Minute, StartupTimeout: time.Minute,
	}
}
