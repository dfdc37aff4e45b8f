package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
)

// The daemon owns every deadline. These bounds limit each step of ending a run.
const (
	stopGrace    = time.Second     // from Stop until the whole sandbox is killed
	collectBound = 5 * time.Second // from the code's death until the artifacts are in
	killBound    = 5 * time.Second // from the kill until the control socket must have closed
)

// Run hands the job over and returns its result. It may be called once, on a sandbox whose shape
// fits the job. turn is when the job left the queue: startup_timeout and Timing.StartupMS count
// from then. watch may be nil. If ctx ends, the job is stopped at once and the result is classified
// by [context.Cause]. An error means that the code's first byte never ran: the launch failed, and
// the job may be retried elsewhere. The caller must call Destroy in every case.
func (s *Sandbox) Run(ctx context.Context, spec *job.Spec, turn time.Time, watch job.Observer) (*job.Result, error) {
	if s.used {
		return nil, errors.New("run: the sandbox has been used")
	}
	s.used = true
	if watch == nil {
		watch = nobody{}
	}
	r := &run{s: s, spec: spec, watch: watch, turn: turn}
	defer r.finish()
	if err := r.begin(ctx); err != nil {
		err = fmt.Errorf("hand over job %s: %w", spec.ID, err)
		if !s.oomKilled() {
			return nil, err
		}
		// The job's files and input did not fit beside the interpreter. That is the job's own
		// fault, and a retry would end the same way.
		r.cause, r.err, r.started = job.OutOfMemory, err, time.Now()
		return r.result(), nil
	}
	defer context.AfterFunc(ctx, func() { r.end(causeOf(context.Cause(ctx))) })()
	r.timers.after(spec.Timeout, func() { r.end(job.Overrun) })
	r.watchMemory()
	r.err = r.read()
	return r.result(), nil
}

// run is one job in its sandbox. The goroutine of Run owns the fields that the reader fills. mu
// guards the fields that timers and the context use.
type run struct {
	s     *Sandbox
	spec  *job.Spec
	watch job.Observer

	turn, started, died time.Time

	stdout, stderr kept
	exit           *frames.Exit
	collect        collection
	done           *frames.Done
	err            error // why reading stopped before Done

	mu     sync.Mutex
	over   bool      // set when Run returns; the sandbox must not be touched any more
	cause  job.Cause // the first cause; OwnEnd while there is none
	timers timers
}

// finish ensures that no timer and no context callback touches the sandbox after Run.
func (r *run) finish() {
	r.timers.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// kept is the retained beginning of an output stream.
type kept struct {
	data  []byte
	total int64
	limit int64
}

func (k *kept) add(p []byte) {
	k.total += int64(len(p))
	// Init forwards one byte past the cap. Anything beyond is dropped.
	if room := k.limit + frames.OutputSlack - int64(len(k.data)); room > 0 {
		k.data = append(k.data, p[:min(room, int64(len(p)))]...)
	}
}

func caps(l job.Limits) frames.Caps {
	return frames.Caps{
		Stdout: l.Stdout, Stderr: l.Stderr,
		Artifact: l.Artifact, ArtifactsTotal: l.ArtifactsTotal, Artifacts: int64(l.Artifacts),
	}
}

// begin applies the job's limits, sends the job, and returns once init has released the job's code.
func (r *run) begin(ctx context.Context) error {
	s, l := r.s, r.spec.Limits
	if s.leaf != nil {
		if err := s.leaf.Apply(l); err != nil {
			return err
		}
		if err := s.leaf.Baseline(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithDeadlineCause(ctx, r.turn.Add(r.spec.StartupTimeout), ErrStartup)
	defer cancel()
	defer s.breakOff(ctx)()
	r.stdout.limit, r.stderr.limit = l.Stdout, l.Stderr
	s.reader.AddBudget(caps(l).Budget())
	err := r.send()
	var m frames.Message
	if err == nil {
		m, err = s.reader.Next()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	switch m := m.(type) {
	case frames.Started:
		r.started = time.Now()
		r.watch.Started()
		return nil
	case frames.Fatal:
		if m.Stage == frames.StageExec && r.spec.Language == job.Command {
			return &ImageError{Message: m.Message} // init looks the program up at hand-over, not at boot
		}
		return fmt.Errorf("tsubo-init failed at %s (errno %d): %q", m.Stage, m.Errno, m.Message)
	}
	return fmt.Errorf("frame of type %#x instead of started", m.Type())
}

// ErrStartup is the cause if startup_timeout passes before the code's first byte.
var ErrStartup = errors.New("startup_timeout has passed")

func (r *run) send() error {
	w, spec := r.s.writer, r.spec
	const readOnly = 0o444
	err := errors.Join(
		w.QueueFile(frames.File{Dir: frames.DirCode, Name: spec.Filename, Mode: readOnly}, []byte(spec.Code)),
		w.QueueFile(frames.File{Dir: frames.DirInput, Name: "data.json", Mode: readOnly}, spec.Input),
	)
	for _, f := range spec.Files {
		err = errors.Join(err, w.QueueFile(frames.File{Dir: frames.DirInput, Name: f.Name, Mode: readOnly}, f.Data))
	}
	for _, f := range spec.CodeFiles {
		err = errors.Join(err, w.QueueFile(frames.File{Dir: frames.DirCode, Name: f.Name, Mode: readOnly}, f.Data))
	}
	program := spec.Filename
	if program == job.DefaultFilename(spec.Language) {
		program = "" // the waiting interpreter runs the default file
	}
	return errors.Join(err,
		w.Queue(frames.Run{
			Program: program, Args: spec.Args, Env: perJob(spec),
			Stdin: int64(len(spec.Stdin)), Caps: caps(spec.Limits),
		}),
		w.QueueStdin(spec.Stdin),
		w.Queue(frames.Go{}),
		w.Flush(),
	)
}

// guestLanguage returns the language as it is encoded for init.
func guestLanguage(l job.Language) frames.Language {
	switch l {
	case job.Python:
		return frames.Python
	case job.Node:
		return frames.Node
	}
	return frames.Command
}

// end stops the job for cause c, unless an earlier cause is recorded or the job has exited. Init is
// asked to kill the job and report. After stopGrace the whole sandbox is killed. An OOM kill that
// the leaf's file already shows wins over a deadline, but not over a cancellation.
func (r *run) end(c job.Cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.cause != job.OwnEnd || r.exit != nil {
		return
	}
	if c != job.CancelRequested && r.s.oomKilled() {
		c = job.OutOfMemory
	}
	r.cause = c
	_ = r.s.control.SetWriteDeadline(time.Now().Add(stopGrace))
	if r.s.writer.Send(frames.Stop{}) != nil {
		r.killLocked()
		return
	}
	r.timers.after(stopGrace, r.kill)
}

// kill kills the whole sandbox. The reader then gets EOF on the control socket, or at the latest
// its deadline.
func (r *run) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killLocked()
}

func (r *run) killLocked() {
	if r.over {
		return
	}
	if err := r.s.kill(); err != nil {
		r.s.host.Log.Error("kill a sandbox", "sandbox", r.s.id, "error", err)
	}
	_ = r.s.control.SetReadDeadline(time.Now().Add(killBound))
}

func (s *Sandbox) kill() error {
	if s.leaf != nil {
		return s.leaf.Kill()
	}
	if len(s.pids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return s.host.Runsc.KillProcesses(ctx, s.dir, s.pids...)
}

func (s *Sandbox) oomKilled() bool {
	if s.leaf == nil {
		return false
	}
	e, err := s.leaf.Events()
	return err == nil && e.OOMKill > 0
}

// read handles init's frames until Done. If the sandbox died or a frame breaks the rules, read
// kills the sandbox and returns the error.
func (r *run) read() error {
	for {
		m, err := r.s.reader.Next()
		if err == nil {
			err = r.take(m)
		}
		if err != nil {
			r.kill()
			return err
		}
		if r.done != nil {
			return nil
		}
	}
}

var errOrder = errors.New("frame out of order")

func (r *run) take(m frames.Message) error {
	if (r.exit == nil) != beforeExit(m) {
		if _, fatal := m.(frames.Fatal); !fatal {
			return fmt.Errorf("%w: type %#x", errOrder, m.Type())
		}
	}
	switch m := m.(type) {
	case frames.Stdout:
		r.stdout.add(m)
		r.watch.Stdout(m)
	case frames.Stderr:
		r.stderr.add(m)
		r.watch.Stderr(m)
	case frames.Exit:
		r.collect.limits = r.spec.Limits
		r.beginCollection(&m)
	case frames.Done:
		if err := r.collect.finish(); err != nil {
			return err
		}
		r.done = &m
		if r.exit.Survivors {
			r.kill() // no process of a job may outlive its result
		}
	case frames.Fatal:
		return fmt.Errorf("tsubo-init failed at %s (errno %d): %q", m.Stage, m.Errno, m.Message)
	default:
		if r.exit.Survivors {
			return fmt.Errorf("%w: type %#x although processes survive", errOrder, m.Type())
		}
		return r.collect.take(m)
	}
	return nil
}

func beforeExit(m frames.Message) bool {
	switch m.(type) {
	case frames.Stdout, frames.Stderr, frames.Exit:
		return true
	}
	return false
}

// beginCollection lifts the guest's CPU limit and starts the bound of the collection. The job is
// dead, so its deadlines no longer count. If processes of the job survive, the CPU limit stays,
// nothing is collected, and the sandbox is killed after Done.
func (r *run) beginCollection(exit *frames.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exit, r.died = exit, time.Now()
	r.timers.stopLocked()
	if exit.Survivors {
		r.timers.after(stopGrace, r.kill)
		return
	}
	if r.s.leaf != nil {
		if err := r.s.leaf.Lift(); err != nil {
			r.s.host.Log.Warn("lift cpu.max for the collection", "sandbox", r.s.id, "error", err)
		}
	}
	r.timers.after(collectBound, r.kill)
}

// Both constants must be equal, because init must accept what job admits. Package job imports
// nothing, so the compiler compares the two here.
var _, _ = [job.MaxStdin - frames.MaxStdin]struct{}{}, [frames.MaxStdin - job.MaxStdin]struct{}{}

// causeOf maps a context's cause to a job.Cause.
func causeOf(err error) job.Cause {
	if errors.Is(err, job.ErrShutdown) {
		return job.Interrupted
	}
	return job.CancelRequested
}

// timers is a set of timers that are stopped together. After stop no timer fires; a function that
// is already running is not interrupted.
type timers struct {
	mu      sync.Mutex
	stopped bool
	all     map[*time.Timer]bool // timers that have not fired
}

func (t *timers) after(d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		t.mu.Lock()
		delete(t.all, timer)
		t.mu.Unlock()
		f()
	})
	if t.all == nil {
		t.all = map[*time.Timer]bool{}
	}
	t.all[timer] = true
}

// stopLocked stops the current timers. Timers that are added later still run.
func (t *timers) stopLocked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for timer := range t.all {
		timer.Stop()
	}
	t.all = nil
}

func (t *timers) stop() {
	t.stopLocked()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// nobody is an Observer that ignores everything.
type nobody struct{}

func (nobody) Started()      {}
func (nobody) Stdout([]byte) {}
func (nobody) Stderr([]byte) {}
