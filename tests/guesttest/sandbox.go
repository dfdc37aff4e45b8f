package guesttest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/guest/hook"
	"github.com/tsubo-run/tsubo/tests/need"
)

// Options of a sandbox. The zero value is the host's python3 in namespaces.
type Options struct {
	Runsc  string // path of runsc; "" runs init in namespaces of this kernel
	Python string // prefix of an interpreter, its bin first in PATH; "" is /usr
	Env    []string
	Cwd    string
	Argv   []string // language command
	Node   bool     // language node, unless Argv is given; the program's file is main.js then, too
	Root   string   // where the directories of the system are taken from; "" is /
	Hook   string   // a directory in the place of the Python hook's, in namespaces only
	// AddressSpace is the job's RLIMIT_AS in bytes; 0 is none.
	AddressSpace int64
	// Preload are the modules that the waiting interpreter imports.
	Preload []string
	Binds   []string // more host paths that the root shows, "path" or "source:target"; /tmp is hidden by the sandbox's own
}

// Sandbox is a booted init.
type Sandbox struct {
	t    testing.TB
	conn *os.File
	in   *frames.Reader
	out  *frames.Writer
	cmd  *exec.Cmd
	log  *lockedBuffer // stderr of init and of runsc
	code string        // name of the program's file

	Ready  frames.Ready
	Booted time.Duration // from the start of the process to Ready
}

// Job is one run. Nil caps are generous ones.
type Job struct {
	Code    string
	Input   string
	Files   map[string]string // below /input
	Modules map[string]string // below /code
	Program string            // name of the program's file, the default one when empty
	Args    []string
	Env     []string
	Stdin   string
	Caps    *frames.Caps
	StopAt  string // send Stop when stdout holds this
}

// Result is everything that init reported.
type Result struct {
	Stdout, Stderr string
	Exit           *frames.Exit
	Artifacts      map[string]string
	Order          []string // names of artifacts and skipped entries as they came
	Incomplete     []string // artifacts that ended early
	Skipped        map[string]frames.Reason
	Done           *frames.Done
	Fatal          *frames.Fatal
	Started        bool
	Frames         int           // of output
	Took           time.Duration // from the write of the job to Exit
	Err            error         // of the connection, io.EOF when init closed it
}

// Status is the exit status as a shell and wire.md have it.
func (r Result) Status() int {
	if r.Exit == nil {
		return -1
	}
	if r.Exit.Signal != 0 {
		return 128 + int(r.Exit.Signal)
	}
	return int(r.Exit.Code)
}

var (
	buildOnce sync.Once
	guestDir  string
	buildErr  error
	atExit    []func()
)

// build makes the directory that is /.tsubo in every sandbox, tsubo-init and the hooks, once per
// test process; $TSUBO_INIT names a ready-made binary, and without a toolchain it is the one in
// PATH.
func build() (string, error) {
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "guesttest-")
		if err != nil {
			buildErr = err
			return
		}
		atExit = append(atExit, func() { _ = os.RemoveAll(dir) })
		if err := os.Chmod(dir, public); err != nil {
			buildErr = err
			return
		}
		for name, b := range hook.Files() {
			path := filepath.Join(dir, name)
			buildErr = errors.Join(buildErr, os.MkdirAll(filepath.Dir(path), public), os.WriteFile(path, b, public))
		}
		guestDir = dir
		initPath := filepath.Join(dir, "tsubo-init")
		ready := os.Getenv("TSUBO_INIT")
		if _, err := lookPath("go"); ready == "" && err != nil {
			ready, err = lookPath("tsubo-init") // in the VM, where there is no toolchain
			buildErr = errors.Join(buildErr, err)
		}
		if buildErr != nil {
			return
		}
		if ready != "" {
			b, err := os.ReadFile(ready)
			buildErr = errors.Join(err, os.WriteFile(initPath, b, public))
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", initPath, "github.com/tsubo-run/tsubo/cmd/tsubo-init")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("build tsubo-init: %w: %s", err, out)
		}
	})
	return guestDir, buildErr
}

// initEnv is the environment of init itself: one processor is enough for one thread.
var initEnv = []string{"GOMAXPROCS=1"}

// Env is what a job gets when o.Env is nil.
func Env(o Options) []string { return o.env() }

func (o Options) env() []string {
	if o.Env != nil {
		return o.Env
	}
	return []string{"PATH=" + o.prefix() + "/bin:/usr/bin:/bin", "HOME=/tmp/home", "LANG=C.UTF-8"}
}

func (o Options) prefix() string {
	if o.Python == "" {
		return "/usr"
	}
	return o.Python
}

func (o Options) binds() [][2]string {
	var list []string
	for _, d := range []string{"/usr", "/bin", "/lib", "/lib64", "/etc"} {
		list = append(list, o.Root+d+":"+d)
	}
	list = append(list, o.Binds...)
	if o.prefix() != "/usr" {
		list = append(list, o.prefix())
	}
	var out [][2]string
	for _, b := range list {
		source, target, found := strings.Cut(b, ":")
		if !found {
			target = source
		}
		out = append(out, [2]string{source, target})
	}
	return out
}

// Start starts init and sends nothing yet.
func Start(t testing.TB, o Options) *Sandbox {
	t.Helper()
	need.Root(t)
	guest, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(p[0], true); err != nil { // so that deadlines work
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(p[0]), "control"), os.NewFile(uintptr(p[1]), "init's control")
	s := &Sandbox{t: t, conn: ours, log: &lockedBuffer{}, code: "main.py"}
	if o.Node {
		s.code = "main.js"
	}
	s.in = frames.NewReader(ours, frames.Init, 1<<40)
	s.out = frames.NewWriter(ours, 0)
	if o.Runsc == "" {
		s.cmd = s.native(o, guest)
	} else {
		s.cmd = s.runsc(o, guest)
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs, nil, s.log
	// New namespaces die with the thread that made them only when asked to; the test's own end must
	// take the sandbox along.
	runtime.LockOSThread()
	err = s.cmd.Start()
	runtime.UnlockOSThread()
	if cerr := theirs.Close(); cerr != nil || err != nil {
		t.Fatal(errors.Join(err, cerr))
	}
	t.Cleanup(s.Close)
	return s
}

// Boot starts a sandbox and waits until the job's process waits.
func Boot(t testing.TB, o Options) *Sandbox {
	t.Helper()
	start := time.Now()
	s := Start(t, o)
	s.Send(BootMessage(o))
	m, err := s.Next()
	if r, ok := m.(frames.Ready); !ok {
		t.Fatalf("waiting for Ready: %#v, %v\n%s", m, err, s.log)
	} else {
		s.Ready = r
	}
	s.Booted = time.Since(start)
	return s
}

// BootMessage is what the daemon would send first.
func BootMessage(o Options) frames.Boot {
	b := frames.Boot{Version: frames.Version, Language: frames.Python, Env: o.env(), Cwd: o.Cwd, UID: 1000, GID: 1000, Preload: o.Preload, AddressSpace: o.AddressSpace}
	if b.Cwd == "" {
		b.Cwd = "/"
	}
	if o.Node {
		b.Language = frames.Node
	}
	if o.Argv != nil {
		b.Language, b.Argv = frames.Command, o.Argv
	}
	return b
}

func (s *Sandbox) native(o Options, guest string) *exec.Cmd {
	conf, err := json.Marshal(stage{Root: s.t.TempDir(), Binds: o.binds(), Guest: guest, Hook: o.Hook, Env: initEnv})
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", string(conf))
	cmd.Args[0] = stageName
	null, err := os.Open(os.DevNull)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = null.Close() })
	cmd.ExtraFiles = []*os.File{null, null} // strays that must not reach the job
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	return cmd
}

// Send queues nothing: it writes.
func (s *Sandbox) Send(ms ...frames.Message) {
	s.t.Helper()
	if err := s.out.Send(ms...); err != nil {
		s.t.Fatalf("send: %v\n%s", err, s.log)
	}
}

// bound is against hanging only: in an emulated machine everything takes ten times as long.
const bound = 4 * time.Minute

// Next is init's next message, or the error that ended the conversation.
func (s *Sandbox) Next() (frames.Message, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(bound)); err != nil {
		return nil, err
	}
	return s.in.Next()
}

// Log is what init and runsc wrote on stderr.
func (s *Sandbox) Log() string { return s.log.String() }

// Pid of init on the host, in namespaces only.
func (s *Sandbox) Pid() int { return s.cmd.Process.Pid }

// Close ends the sandbox as the daemon does, by letting go of the socket, and by force when that is
// not enough.
func (s *Sandbox) Close() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.conn.Close()
	kill := time.AfterFunc(bound, func() { _ = s.cmd.Process.Kill() })
	err := s.cmd.Wait()
	if !kill.Stop() {
		s.t.Errorf("init did not end when its socket was closed (%v)\n%s", err, s.log)
	}
}

// Wait closes nothing and waits for init to end by itself.
func (s *Sandbox) Wait() error {
	kill := time.AfterFunc(bound, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	return s.cmd.Wait()
}

// Generous are caps that no ordinary test meets.
var Generous = frames.Caps{Stdout: 16 << 20, Stderr: 16 << 20, Artifact: 32 << 20, ArtifactsTotal: 64 << 20, Artifacts: 1000}

// Run hands the job over in one write and takes everything that comes until Done, Fatal or the end.
func (s *Sandbox) Run(j Job) Result {
	s.t.Helper()
	start := time.Now()
	s.Give(j)
	s.Send(frames.Go{})
	return s.Collect(j, start)
}

// Give queues everything of a job but Go.
func (s *Sandbox) Give(j Job) {
	s.t.Helper()
	caps := Generous
	if j.Caps != nil {
		caps = *j.Caps
	}
	if j.Input == "" {
		j.Input = "{}"
	}
	err := errors.Join(
		s.out.QueueFile(frames.File{Dir: frames.DirCode, Name: cmp.Or(j.Program, s.code), Mode: 0o444}, []byte(j.Code)),
		s.out.QueueFile(frames.File{Dir: frames.DirInput, Name: "data.json", Mode: 0o444}, []byte(j.Input)))
	for name, b := range j.Files {
		err = errors.Join(err, s.out.QueueFile(frames.File{Dir: frames.DirInput, Name: name, Mode: 0o444}, []byte(b)))
	}
	for name, b := range j.Modules {
		err = errors.Join(err, s.out.QueueFile(frames.File{Dir: frames.DirCode, Name: name, Mode: 0o444}, []byte(b)))
	}
	err = errors.Join(err, s.out.Queue(frames.Run{Program: j.Program, Args: j.Args, Env: j.Env, Stdin: int64(len(j.Stdin)), Caps: caps}),
		s.out.QueueStdin([]byte(j.Stdin)))
	if err != nil {
		s.t.Fatal(err)
	}
}

// Collect takes what comes after Go.
func (s *Sandbox) Collect(j Job, start time.Time) Result {
	s.t.Helper()
	r := Result{Artifacts: map[string]string{}, Skipped: map[string]frames.Reason{}}
	var stdout, stderr, content strings.Builder
	var name string
	stopped := false
	for r.Done == nil && r.Fatal == nil {
		m, err := s.Next()
		if err != nil {
			r.Err = err
			if !errors.Is(err, io.EOF) {
				s.t.Errorf("conversation: %v\n%s", err, s.log)
			}
			break
		}
		switch m := m.(type) {
		case frames.Started:
			r.Started = true
		case frames.Stdout:
			r.Frames++
			stdout.Write(m)
		case frames.Stderr:
			r.Frames++
			stderr.Write(m)
		case frames.Exit:
			r.Took, r.Exit = time.Since(start), &m
		case frames.Artifact:
			name = m.Name
			content.Reset()
			r.Order = append(r.Order, name)
		case frames.Content:
			content.Write(m)
		case frames.ArtifactEnd:
			r.Artifacts[name] = content.String()
			if !m.Complete {
				r.Incomplete = append(r.Incomplete, name)
			}
		case frames.Skip:
			r.Skipped[m.Name] = m.Reason
			r.Order = append(r.Order, m.Name)
		case frames.Done:
			r.Done = &m
		case frames.Fatal:
			r.Fatal = &m
		default:
			s.t.Fatalf("unexpected %#v", m)
		}
		if !stopped && j.StopAt != "" && strings.Contains(stdout.String(), j.StopAt) {
			stopped = true
			s.Send(frames.Stop{})
		}
	}
	r.Stdout, r.Stderr = stdout.String(), stderr.String()
	return r
}

// lockedBuffer is a bytes.Buffer that os/exec may write while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// SendRaw writes bytes that may be no frame.
func (s *Sandbox) SendRaw(b string) {
	s.t.Helper()
	if _, err := s.conn.WriteString(b); err != nil {
		s.t.Fatal(err)
	}
}

// TrySend is Send where init may be gone already.
func (s *Sandbox) TrySend(ms ...frames.Message) error { return s.out.Send(ms...) }

// KillJob kills the children of init, in namespaces only.
func (s *Sandbox) KillJob(t testing.TB) {
	t.Helper()
	pid := s.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range strings.Fields(string(b)) {
		child, err := strconv.Atoi(f)
		if err == nil {
			err = syscall.Kill(child, syscall.SIGKILL)
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Fatalf("init has %d children", n)
	}
}
