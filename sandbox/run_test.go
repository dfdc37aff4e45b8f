package sandbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
)

// guestEnd is the far end of a sandbox's control socket, driven by a test that plays either a
// correct init or a hostile one.
type guestEnd struct {
	f *os.File
	r *frames.Reader
	w *frames.Writer
}

func newGuest(t *testing.T) (*Sandbox, *guestEnd) {
	t.Helper()
	ours, theirs, err := controlPair()
	if err != nil {
		t.Fatal(err)
	}
	s := &Sandbox{
		host: &Host{Log: slog.New(slog.DiscardHandler)}, id: newID(),
		control: ours, reader: frames.NewReader(ours, frames.Init, 0), writer: frames.NewWriter(ours, 0),
	}
	g := &guestEnd{f: theirs, r: frames.NewReader(theirs, frames.Daemon, 1<<30), w: frames.NewWriter(theirs, 0)}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return s, g
}

// await reads the daemon's frames until one of the given type.
func (g *guestEnd) await(want frames.Type) error {
	for {
		m, err := g.r.Next()
		if err != nil {
			return err
		}
		if m.Type() == want {
			return nil
		}
	}
}

func testSpec() *job.Spec {
	return &job.Spec{
		ID: "test", Language: job.Python, Filename: "main.py", Code: "pass", Input: []byte("{}"),
		Timeout: time.Minute, StartupTimeout: time.Minute,
		Limits: job.Limits{
			Memory: 64 * job.MiB, CPU: 1, PIDs: 10, Stdout: 1000, Stderr: 1000, Artifact: 100, ArtifactsTotal: 150,
			Artifacts: 5,
		},
	}
}

// play runs a job against a guest that answers the hand-over with the given messages and then waits
// for the end.
func play(t *testing.T, spec *job.Spec, messages ...frames.Message) *job.Result {
	t.Helper()
	s, g := newGuest(t)
	go func() {
		if g.await(frames.TypeGo) == nil && g.w.Send(messages...) == nil {
			_ = g.await(frames.TypeStop) // until the daemon closes or kills
		}
		g.f.Close()
	}()
	res, err := s.Run(context.Background(), spec, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRunReportsWhatInitSays(t *testing.T) {
	res := play(t, testSpec(),
		frames.Started{}, frames.Stdout("hello\n"), frames.Stderr("oh\n"), frames.Exit{},
		frames.Artifact{Name: "result.json", Size: 9}, frames.Content(`{"a": 10}`), frames.ArtifactEnd{Complete: true},
		frames.Skip{Name: "link", Reason: frames.SkipSymlink},
		frames.Done{StdoutTotal: 6, StderrTotal: 3})
	if res.Status != job.Succeeded || *res.ExitCode != 0 || res.Error != nil {
		t.Errorf("status %s, exit %v, error %v", res.Status, res.ExitCode, res.Error)
	}
	if res.Stdout != "hello\n" || res.Stderr != "oh\n" || string(res.Output) != `{"a":10}` {
		t.Errorf("stdout %q, stderr %q, output %s", res.Stdout, res.Stderr, res.Output)
	}
	if len(res.Artifacts) != 1 || len(res.Skipped) != 1 || res.Skipped[0].Reason != "symlink" {
		t.Errorf("artifacts %v, skipped %v", res.Artifacts, res.Skipped)
	}
	if res.Timing.ExecutionMS == nil || res.Timing.StartupMS == nil {
		t.Error("timing is missing")
	}
}

// A process that survives its SIGKILL does not change the program's exit, but nothing is collected
// beside it.
func TestRunWithSurvivors(t *testing.T) {
	for _, after := range [][]frames.Message{
		{frames.Exit{Survivors: true}, frames.Done{StdoutTotal: 5}},
		{frames.Exit{Code: 3, Survivors: true}, frames.Done{StdoutTotal: 5}},
		{
			frames.Exit{Survivors: true}, frames.Artifact{Name: "a"}, frames.ArtifactEnd{Complete: true},
			frames.Done{StdoutTotal: 5},
		},
	} {
		s, g := newGuest(t)
		go func() {
			if g.await(frames.TypeGo) == nil {
				_ = g.w.Send(append([]frames.Message{frames.Started{}, frames.Stdout("done\n")}, after...)...)
			}
			g.f.Close()
		}()
		res, err := s.Run(context.Background(), testSpec(), time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		exit := after[0].(frames.Exit)
		if res.ExitCode == nil || *res.ExitCode != int(exit.Code) ||
			(res.Status == job.Succeeded) != (exit.Code == 0) ||
			res.Stdout != "done\n" {
			t.Errorf("%+v: %+v", exit, res)
		}
		if !strings.HasPrefix(res.ArtifactsNote, "lost: ") || len(res.Artifacts) > 0 {
			t.Errorf("%+v: artifacts %v, note %q", exit, res.Artifacts, res.ArtifactsNote)
		}
	}
}

// The line of the exception is at the end of stderr, which is dropped when a job floods stderr.
func TestRunClassifiesByTheEndOfStderr(t *testing.T) {
	res := play(t, testSpec(), frames.Started{}, frames.Stderr(strings.Repeat("log\n", 250)+"l"), frames.Exit{Code: 1},
		frames.Done{
			StderrTotal: 100000,
			StderrTail: "log\nTraceback (most recent call last):\n  File \"/code/main.py\", line 1, in <module>\n" +
				"ZeroDivisionError: division by zero\n",
		})
	if res.Error == nil || res.Error.Type != "division_error" ||
		res.Error.Message != "ZeroDivisionError: division by zero" ||
		!res.StderrTruncated {
		t.Errorf("error %+v, truncated %v", res.Error, res.StderrTruncated)
	}
}

// Every violation by init becomes internal_error, never a status of the job, and no artifact over a
// cap is held in memory.
func TestRunBelievesNothing(t *testing.T) {
	artifact := func(name string, size int64) frames.Message { return frames.Artifact{Name: name, Size: size} }
	end := frames.ArtifactEnd{Complete: true}
	for name, messages := range map[string][]frames.Message{
		"end before exit":          {},
		"started twice":            {frames.Started{}},
		"ready again":              {frames.Ready{Version: frames.Version}},
		"artifact before exit":     {artifact("a", 1)},
		"done before exit":         {frames.Done{}},
		"fatal":                    {frames.Fatal{Stage: frames.StageReap, Message: "no"}},
		"exit twice":               {frames.Exit{}, frames.Exit{}},
		"stdout after exit":        {frames.Exit{}, frames.Stdout("late")},
		"content without artifact": {frames.Exit{}, frames.Content("x")},
		"end without artifact":     {frames.Exit{}, end},
		"artifact over its cap":    {frames.Exit{}, artifact("a", 101)},
		"artifacts over the total": {
			frames.Exit{}, artifact("a", 100), frames.Content(strings.Repeat("x", 100)), end, artifact("b", 51),
		},
		"more content than announced": {frames.Exit{}, artifact("a", 1), frames.Content("xx")},
		"less content than announced": {frames.Exit{}, artifact("a", 2), frames.Content("x"), end},
		"artifact inside an artifact": {frames.Exit{}, artifact("a", 2), artifact("b", 2)},
		"skip inside an artifact": {
			frames.Exit{}, artifact("a", 2), frames.Skip{Name: "b", Reason: frames.SkipName},
		},
		"done inside an artifact": {frames.Exit{}, artifact("a", 2), frames.Done{}},
		"the same name twice":     {frames.Exit{}, artifact("a", 0), end, artifact("a", 0), end},
		"more entries than the cap": {
			frames.Exit{}, artifact("a", 0), end, artifact("b", 0), end, artifact("c", 0), end, artifact("d", 0), end,
			artifact("e", 0), end, artifact("f", 0), end,
		},
		"started after the exit":        {frames.Exit{}, frames.Started{}},
		"fatal during the collection":   {frames.Exit{}, frames.Fatal{Stage: frames.StageCollect}},
		"end of file in the collection": {frames.Exit{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, g := newGuest(t)
			go func() {
				if g.await(frames.TypeGo) == nil {
					_ = g.w.Send(append([]frames.Message{frames.Started{}}, messages...)...)
				}
				g.f.Close()
			}()
			res, err := s.Run(context.Background(), testSpec(), time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, a := range res.Artifacts {
				total += len(a.Data)
			}
			if total > 150 {
				t.Errorf("%d bytes of artifacts held", total)
			}
			if len(messages) > 0 && messages[0].Type() == frames.TypeExit {
				if res.ArtifactsNote == "" {
					t.Error("the collection is incomplete and the result has no note")
				}
				return
			}
			if res.Status != job.Failed || res.Error.Type != job.TypeInternal || *res.ExitCode != -1 {
				t.Errorf("status %s, error %+v", res.Status, res.Error)
			}
		})
	}
}

func TestRunHoldsNoMoreOutputThanItsCaps(t *testing.T) {
	s, g := newGuest(t)
	go func() {
		if g.await(frames.TypeGo) == nil {
			_ = g.w.Send(frames.Started{})
			for g.w.Send(frames.Stdout(strings.Repeat("x", frames.MaxPayload))) == nil {
			}
		}
		g.f.Close()
	}()
	// Without the byte budget the run would last until the timeout.
	res, err := s.Run(context.Background(), testSpec(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stdout) > 1000 || res.Error == nil || res.Error.Type != job.TypeInternal {
		t.Errorf("%d bytes of stdout, error %+v", len(res.Stdout), res.Error)
	}
}

func TestRunOwnsTheDeadline(t *testing.T) {
	spec := testSpec()
	spec.Timeout = 50 * time.Millisecond
	t.Run("init reports", func(t *testing.T) {
		t.Parallel()
		s, g := newGuest(t)
		go func() {
			_ = g.await(frames.TypeGo)
			_ = g.w.Send(frames.Started{}, frames.Stdout("partial"))
			_ = g.await(frames.TypeStop)
			_ = g.w.Send(frames.Exit{Signal: 9}, frames.Artifact{Name: "a"}, frames.ArtifactEnd{Complete: true},
				frames.Done{StdoutTotal: 7})
		}()
		res, err := s.Run(context.Background(), spec, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != job.Timeout || *res.ExitCode != 124 || res.Error.Type != job.TypeExecutionTimeout ||
			res.Stdout != "partial" ||
			len(res.Artifacts) != 1 {
			t.Errorf("%+v", res)
		}
	})
	t.Run("init is mute", func(t *testing.T) {
		t.Parallel()
		s, g := newGuest(t)
		go func() {
			_ = g.await(frames.TypeGo)
			_ = g.w.Send(frames.Started{}, frames.Stdout("partial"))
		}()
		res, err := s.Run(context.Background(), spec, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != job.Timeout || res.Stdout != "partial" || res.ArtifactsNote == "" {
			t.Errorf("%+v", res)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for cause, want := range map[error]job.Status{
		job.ErrCancelRequested: job.Cancelled,
		job.ErrCallerGone:      job.Cancelled,
		job.ErrShutdown:        job.Failed,
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		s, g := newGuest(t)
		go func() {
			_ = g.await(frames.TypeGo)
			_ = g.w.Send(frames.Started{}, frames.Stdout("partial"))
			_ = g.await(frames.TypeStop)
			_ = g.w.Send(frames.Exit{Signal: 9}, frames.Done{StdoutTotal: 7})
		}()
		// Cancel only after the code has started; before, there would be no run at all.
		res, err := s.Run(ctx, testSpec(), time.Now(), onStart(func() { cancel(cause) }))
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != want || res.Stdout != "partial" {
			t.Errorf("%v: status %s, stdout %q", cause, res.Status, res.Stdout)
		}
		if want == job.Cancelled && res.ExitCode != nil {
			t.Errorf("%v: exit code %d", cause, *res.ExitCode)
		}
	}
}

// onStart is an Observer that calls a function when the code starts.
type onStart func()

func (f onStart) Started()    { f() }
func (onStart) Stdout([]byte) {}
func (onStart) Stderr([]byte) {}

// The program's own exit wins over a cancellation during the collection.
func TestRunNaturalEndWins(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s, g := newGuest(t)
	go func() {
		_ = g.await(frames.TypeGo)
		_ = g.w.Send(frames.Started{}, frames.Exit{}, frames.Artifact{Name: "a", Size: 1})
		time.Sleep(20 * time.Millisecond) // the cancellation may come earlier or later; the exit is sent either way
		cancel(job.ErrCancelRequested)
		_ = g.w.Send(frames.Content("x"), frames.ArtifactEnd{Complete: true}, frames.Done{})
		_ = g.await(frames.TypeStop)
	}()
	res, err := s.Run(ctx, testSpec(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	switch res.Status {
	case job.Succeeded:
		if len(res.Artifacts) != 1 {
			t.Error("succeeded without its artifact")
		}
	case job.Cancelled:
		if res.ExitCode != nil {
			t.Error("cancelled with an exit code")
		}
	default:
		t.Errorf("status %s", res.Status)
	}
}

func TestRunBeforeTheFirstByteIsAnError(t *testing.T) {
	for name, answer := range map[string][]frames.Message{
		"gone":     nil,
		"fatal":    {frames.Fatal{Stage: frames.StageFiles, Errno: 28}},
		"no start": {frames.Exit{}},
		"nonsense": {frames.Stdout("early")},
	} {
		s, g := newGuest(t)
		go func() {
			_ = g.await(frames.TypeGo)
			_ = g.w.Send(answer...)
			g.f.Close()
		}()
		if res, err := s.Run(context.Background(), testSpec(), time.Now(), nil); err == nil {
			t.Errorf("%s: result %+v", name, res)
		}
	}
	s, _ := newGuest(t)
	spec := testSpec()
	spec.StartupTimeout = 20 * time.Millisecond
	if _, err := s.Run(context.Background(), spec, time.Now(), nil); !errors.Is(err, ErrStartup) {
		t.Errorf("mute init: %v, want ErrStartup", err)
	}
	if _, err := s.Run(context.Background(), spec, time.Now(), nil); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("second run: %v", err)
	}
}

// TestGreet checks that the handshake runs beside the start of init, and ends if init ends.
func TestGreet(t *testing.T) {
	broken := errors.New("runsc failed")
	say := func(theirs *os.File, m frames.Message) error {
		if m == nil {
			return nil
		}
		// The boot frame, before start returns.
		if _, err := frames.NewReader(theirs, frames.Daemon, 1<<20).Next(); err != nil {
			return err
		}
		return frames.NewWriter(theirs, 0).Send(m)
	}
	image := frames.Fatal{Stage: frames.StageExec, Message: "no interpreter"}
	for name, test := range map[string]struct {
		says    frames.Message
		fails   error
		held    bool // the far end stays open
		want    error
		isImage bool
	}{
		"ready":                {says: frames.Ready{Version: frames.Version}},
		"ready, and then fail": {says: frames.Ready{Version: frames.Version}, fails: broken, want: broken},
		"image at fault":       {says: image, isImage: true},
		"for which it failed":  {says: image, fails: broken, want: broken, isImage: true},
		"failed":               {fails: broken, want: broken},
		"failed, held":         {fails: broken, held: true, want: broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Sandbox{host: &Host{Log: slog.New(slog.DiscardHandler)}, id: newID(), shape: testShape()}
			err := s.greet(t.Context(), func(theirs *os.File) error {
				if test.held {
					fd, err := unix.Dup(int(theirs.Fd()))
					if err != nil {
						t.Error(err)
					}
					t.Cleanup(func() { _ = unix.Close(fd) })
				}
				return errors.Join(say(theirs, test.says), test.fails)
			})
			image := (*ImageError)(nil)
			if test.want != nil && !errors.Is(err, test.want) || err == nil != (test.want == nil && !test.isImage) ||
				errors.As(err, &image) != test.isImage {
				t.Errorf("error %v", err)
			}
			if err := s.control.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The program of a command type is looked up at hand-over. If it cannot run, that is the image's
// fault. An interpreter has already started, so the same failure is tsubo's.
func TestHandOverThatFails(t *testing.T) {
	for _, test := range []struct {
		language job.Language
		stage    frames.Stage
		image    bool
	}{
		{job.Command, frames.StageExec, true},
		{job.Command, frames.StageFiles, false},
		{job.Python, frames.StageExec, false},
		{job.Node, frames.StageExec, false},
	} {
		s, g := newGuest(t)
		go func() {
			if g.await(frames.TypeGo) == nil {
				_ = g.w.Send(frames.Fatal{Stage: test.stage, Message: "nonesuch not found in PATH"})
			}
			g.f.Close()
		}()
		spec := testSpec()
		spec.Language = test.language
		res, err := s.Run(context.Background(), spec, time.Now(), nil)
		image := (*ImageError)(nil)
		if res != nil || err == nil || errors.As(err, &image) != test.image {
			t.Errorf("%s at %s: result %v, error %v", test.language, test.stage, res, err)
		}
	}
}
