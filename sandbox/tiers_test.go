package sandbox

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/need"
)

// TestSelfReport (attack I14) checks that a job cannot see how its sandbox was booted, nor how long
// the sandbox waited.
func TestSelfReport(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	code, err := os.ReadFile("testdata/report.py")
	if err != nil {
		t.Fatal(err)
	}
	report := func(t *testing.T, by tier) []string {
		t.Helper()
		s := boot(t, by, h, shape)
		res, err := s.Run(t.Context(), pythonSpec(string(code)), time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != job.Succeeded || res.StdoutTruncated {
			t.Fatalf("%s, truncated %v: %s", res.Status, res.StdoutTruncated, res.Stderr)
		}
		if strings.Contains(res.Stdout, bundle.Pause) {
			t.Errorf("the job sees the process of the empty sandbox: %s", res.Stdout)
		}
		if os.Getenv("TSUBO_SENTRY") == "" {
			// Only stock runsc shows the descriptor of an image, which depends on how the sandbox
			// was booted.
			return strings.Split(regexp.MustCompile(`\bifd=\d+`).ReplaceAllString(res.Stdout, "ifd=N"), "\n")
		}
		return strings.Split(res.Stdout, "\n")
	}
	want := report(t, tiers["cold"])
	if len(want) < 300 {
		t.Fatalf("a report of %d lines", len(want))
	}
	t.Logf("%d lines", len(want))
	for _, name := range []string{"cold", "hot", "warm"} {
		got := report(t, tiers[name])
		for _, line := range got {
			if !slices.Contains(want, line) {
				t.Errorf("%s: + %s", name, line)
			}
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("%s: - %s", name, line)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d lines, want %d", name, len(got), len(want))
		}
	}
}

// The sentry shows a job nothing of the host's hardware beyond its processors.
func TestNoNameOfTheHost(t *testing.T) {
	h, w := realHost(t)
	need.That(t, "sentry", os.Getenv("TSUBO_SENTRY") != "")
	s := boot(t, tiers["cold"], h, pythonShape(t, w))
	res, err := s.Run(
		t.Context(),
		pythonSpec(
			"import os\nprint(os.path.exists('/sys/devices/virtual/dmi'), [l for l in open('/proc/mounts') if "+
				"'ifd=' in l])",
		),
		time.Now(),
		nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	if res.Stdout != "False []\n" {
		t.Errorf("%q, %q", res.Stdout, res.Stderr)
	}
}

// TestJobInEveryTier runs a whole job with an artifact, and every end that the daemon imposes.
func TestJobInEveryTier(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	for name, by := range tiers {
		t.Run(name, func(t *testing.T) {
			s := boot(t, by, h, shape)
			res, err := s.Run(
				t.Context(),
				pythonSpec(
					"import os, sys\nprint(sys.argv[1], os.environ['OF_TYPE'], os.environ['OF_JOB'])\n"+
						"open('/output/result.json', 'w').write(open('/input/data.json').read())",
				),
				time.Now(),
				nil,
			)
			if err != nil {
				t.Fatal(err)
			}
			if res.Status != job.Succeeded || res.Stdout != "x 1 1\n" || string(res.Output) != `{"a":1}` {
				t.Errorf("%s %q %s %s", res.Status, res.Stdout, res.Output, res.Stderr)
			}
			if s.Waiting() == nil {
				t.Error("it waits for another job")
			}
		})
		t.Run(name+", overrun", func(t *testing.T) {
			s := boot(t, by, h, shape)
			spec := pythonSpec(
				"import os, time\nprint('partial', flush=True)\nif os.fork() == 0: os.setsid()\ntime.sleep(1000)",
			)
			spec.Timeout = 3 * time.Second // enough for an emulated interpreter to print
			res, err := s.Run(t.Context(), spec, time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.Status != job.Timeout || res.Stdout != "partial\n" {
				t.Errorf("%s %q %s", res.Status, res.Stdout, res.Stderr)
			}
		})
		t.Run(name+", image at fault", func(t *testing.T) {
			broken := shape
			broken.Root = w.canary // no interpreter in it
			_, err := by(t, h, broken)
			if image := (*ImageError)(nil); !errors.As(err, &image) {
				t.Errorf("error %v, want an *ImageError", err)
			}
		})
		t.Run(name+", init at fault", func(t *testing.T) {
			bad := *h
			bad.Guest = w.canary // no tsubo-init in it
			if _, err := by(t, &bad, shape); err == nil || !strings.Contains(err.Error(), "tsubo-init") {
				t.Errorf("error %v, want one that names tsubo-init", err)
			}
		})
	}
}

func TestCanaryByTier(t *testing.T) {
	h, w := realHost(t)
	l := realLimits()
	l.SharedMemory = 0
	if err := h.Canary(t.Context(), w.canary, l); err != nil {
		t.Errorf("cold: %v", err)
	}
	if err := h.CanaryWarm(t.Context(), w.canary, l); err != nil {
		t.Errorf("warm: %v", err)
	}
}

// The warm canary must detect a container without a filter, as with a runsc that has renamed the
// option.
func TestCanaryWarmBites(t *testing.T) {
	h, w := realHost(t)
	loose := *h.Seccomp
	loose.Syscalls = append(slices.Clone(loose.Syscalls), loose.Syscalls[0])
	loose.Syscalls[len(loose.Syscalls)-1].Names = []string{"ptrace", "unshare", "mount", "bpf", "keyctl"}
	h.Seccomp = &loose
	l := realLimits()
	l.SharedMemory = 0
	var wrong *CanaryError
	if err := h.CanaryWarm(t.Context(), w.canary, l); !errors.As(err, &wrong) {
		t.Errorf("error %v, want a *CanaryError", err)
	}
}

func TestSentryIsUsedOnce(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	ctx := t.Context()
	newSentry := func() *Sentry {
		t.Helper()
		s, err := h.BootSentry(ctx, SizeOf(shape.Limits))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Waiting(); err != nil {
			t.Error(err)
		}
		return s
	}

	s := newSentry()
	box, err := s.Add(ctx, shape)
	if err != nil {
		t.Fatal(err)
	}
	if s.Waiting() == nil {
		t.Error("a used sentry waits")
	}
	if _, err := s.Add(ctx, shape); err == nil {
		t.Error("used twice")
	}
	if err := errors.Join(s.Destroy(ctx), box.Waiting()); err != nil {
		t.Errorf("destroying the used sentry: %v", err)
	}
	if err := box.Destroy(ctx); err != nil {
		t.Error(err)
	}

	s = newSentry()
	if err := errors.Join(s.Destroy(ctx), s.Destroy(ctx)); err != nil {
		t.Error(err)
	}
	if s.Waiting() == nil {
		t.Error("a destroyed sentry waits")
	}
	if _, err := s.Add(ctx, shape); err == nil {
		t.Error("added to a destroyed sentry")
	}

	larger := shape
	larger.Limits.Memory *= 2
	s = newSentry()
	if _, err := s.Add(ctx, larger); err == nil {
		t.Error("added a shape of another size")
	}
	directory := shape
	directory.Root.Kind = rootfs.Directory
	s = newSentry()
	if _, err := s.Add(ctx, directory); !errors.Is(err, ErrNoSentry) {
		t.Errorf("a directory root: %v, want ErrNoSentry", err)
	}
	for _, change := range []func(h *Host){
		func(h *Host) { h.Empty = rootfs.Root{} },
		func(h *Host) { h.Guest.Kind = rootfs.Directory },
	} {
		other := *h
		change(&other)
		if _, err := other.BootSentry(ctx, SizeOf(shape.Limits)); !errors.Is(err, ErrNoSentry) {
			t.Errorf("error %v, want ErrNoSentry", err)
		}
	}
}

// TestDeathWhileIdle checks that a sandbox that died while it waited is detected, refused and
// removed.
func TestDeathWhileIdle(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	kill := func(s *Sandbox) {
		t.Helper()
		for _, pid := range s.pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	await := func(what string, waiting func() error) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); waiting() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: dead, but reported as waiting", what)
			}
		}
	}
	sentry, err := h.BootSentry(t.Context(), SizeOf(shape.Limits))
	if err != nil {
		t.Fatal(err)
	}
	kill(sentry.box)
	await("sentry", sentry.Waiting)
	if _, err := sentry.Add(t.Context(), shape); err == nil {
		t.Error("added to a dead sentry")
	}
	for name, by := range tiers {
		s := boot(t, by, h, shape)
		kill(s)
		await(name, s.Waiting)
		if _, err := s.Run(t.Context(), pythonSpec("pass"), time.Now(), nil); err == nil {
			t.Errorf("%s: ran although dead", name)
		}
	}
}

// TestAddCancelled cancels Add at many moments. Each time Add fails with the cause or has booted,
// and nothing is left.
func TestAddCancelled(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	cause := errors.New("changed my mind")
	for delay := time.Duration(0); delay <= 60*time.Millisecond; delay += 6 * time.Millisecond {
		s, err := h.BootSentry(t.Context(), SizeOf(shape.Limits))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(delay, func() { cancel(cause) })
		box, err := s.Add(ctx, shape)
		timer.Stop()
		cancel(nil)
		switch {
		case err == nil:
			if err := box.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, cause):
			t.Errorf("after %v: %v", delay, err)
		}
	}
}

// TestSweepTakesEveryTier checks that the sweep removes waiting sandboxes of every kind after a
// crash.
func TestSweepTakesEveryTier(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	for _, by := range tiers {
		if _, err := by(t, h, shape); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.BootSentry(t.Context(), SizeOf(shape.Limits)); err != nil {
		t.Fatal(err)
	}
	after := *h
	if err := after.Sweep(t.Context()); err != nil {
		t.Error(err)
	} // realHost checks for leftovers
}

// TestPauseProgram runs the program on this kernel: it waits, survives a signal that interrupts it,
// and uses no descriptor.
func TestPauseProgram(t *testing.T) {
	path := t.TempDir() + "/pause"
	if err := os.WriteFile(path, EmptyTree()["pause"].Data, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.Kill()
		if state, err := p.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Errorf("it ended by itself: %v, %v", state, err)
		}
	}()
	for range 3 {
		if err := errors.Join(p.Signal(unix.SIGCONT), p.Signal(unix.SIGSTOP), p.Signal(unix.SIGCONT)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			call, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/syscall")
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_PPOLL)+" 0x0 0x0 0x0 0x0 ") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("it does %q", call)
			}
		}
	}
}

// A root that is a directory has a gofer process, which is killed with the rest.
func TestDirectoryRoot(t *testing.T) {
	h, w := realHost(t)
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/"+CanaryRoot, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/"+CanaryRoot, 0o777); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	for name, mode := range rootfs.MountPoints() {
		if err := os.Mkdir(dir+"/"+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	l := realLimits()
	l.SharedMemory = 0
	s, err := h.Boot(t.Context(), Shape{
		Root: rootfs.Root{
			Key:  "directory",
			Kind: rootfs.Directory,
			Path: dir,
		}, Config: job.ImageConfig{WorkingDir: "/"},
		Language: job.Command, Command: []string{"/.tsubo/tsubo-init", "canary"}, Limits: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.pids) != 2 {
		t.Errorf("processes %v, want the sandbox's and the gofer's", s.pids)
	}
	if err := s.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
	other := boot(t, tiers["cold"], h, pythonShape(t, w))
	if len(other.pids) != 1 {
		t.Errorf("processes %v of an EROFS root, want one", other.pids)
	}
}
