package guest

import (
	"errors"
	"runtime"
	"strconv"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

// Paths in the sandbox.
const (
	codeDir   = "/code"
	inputDir  = "/input"
	outputDir = "/output"
	homeDir   = "/tmp/home" // the job's HOME by default
)

// control is the descriptor of the control socket. runsc only passes on stdio.
const control = 0

func init() {
	// Credentials and capability sets belong to threads, so everything happens on the first thread.
	runtime.LockOSThread()
}

// Main runs tsubo-init and does not return. It kills every process that it may, and therefore exits
// at once unless it is PID 1.
func Main() {
	if syscall.Getpid() != 1 {
		_, _ = syscall.Write(2, []byte("tsubo-init: only runs as PID 1 of a sandbox\n"))
		syscall.Exit(1)
	}
	g := &guest{
		in:    frames.NewReader(socket(control), frames.Daemon, 1<<62),
		out:   frames.NewWriter(socket(control), frames.MaxFrame),
		code:  -1,
		input: -1,
	}
	defer func() {
		if r := recover(); r != nil {
			g.fatal(&failure{stage: frames.StageSetup, what: "panic"})
		}
	}()
	g.fatal(g.run())
}

// guest is the state of init.
type guest struct {
	in   *frames.Reader
	out  *frames.Writer
	boot frames.Boot

	code, input int // directories for the job's files
	file        incoming
	archive     bool // a file in /code may be a zip archive
	spec        frames.Run
	stdin       []byte
	job         process
	pump        pump
	stopped     bool // whether Stop was received
}

// failure is the reason why init cannot continue.
type failure struct {
	stage frames.Stage
	what  string
	err   error // of the system call, or nil
}

func fail(stage frames.Stage, what string, err error) *failure {
	return &failure{stage: stage, what: what, err: err}
}

// closed reports EOF on the control socket: the daemon is gone, or has closed the sandbox.
var closed = &failure{what: "control socket closed"}

// run handles a job from boot to its last artifact. It returns why it ended. closed is the normal
// reason.
func (g *guest) run() *failure {
	if f := g.setup(); f != nil {
		return f
	}
	if f := g.awaitBoot(); f != nil {
		return f
	}
	if g.boot.Language.Waits() {
		if f := g.park(); f != nil {
			return f
		}
	}
	if g.out.Send(frames.Ready{Version: frames.Version, PID: int32(g.job.pid)}) != nil {
		return closed
	}
	if f := g.load(); f != nil {
		return f
	}
	if !g.stopped {
		if f := g.release(); f != nil {
			return f
		}
		if f := g.carry(); f != nil {
			return f
		}
	}
	if f := g.end(); f != nil {
		return f
	}
	if f := g.collect(); f != nil {
		return f
	}
	return g.awaitClose()
}

// setup prepares init's descriptors, signals, privileges and directories.
func (g *guest) setup() *failure {
	// Whatever descriptors init inherited, the job gets only its three pipes.
	if err := closeOnExecFrom(0); err != nil {
		return fail(frames.StageSetup, "close_range", err)
	}
	// These signals terminate a Go program; its runtime ignores the others. The job may send none,
	// but an operator's stray kill may.
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		if err := ignoreSignal(sig); err != nil {
			return fail(frames.StageSetup, "ignore signal", err)
		}
	}
	if err := still(); err != nil {
		return fail(frames.StageSetup, "still", err)
	}
	syscall.Umask(0o022)
	if err := shed(); err != nil {
		return fail(frames.StageSetup, "shed privileges", err)
	}
	var err error
	if g.code, err = openDir(codeDir); err != nil {
		return fail(frames.StageSetup, "open "+codeDir, err)
	}
	if g.input, err = openDir(inputDir); err != nil {
		return fail(frames.StageSetup, "open "+inputDir, err)
	}
	return nil
}

func openDir(path string) (int, error) {
	return syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
}

func (g *guest) awaitBoot() *failure {
	m, f := g.next()
	if f != nil {
		return f
	}
	var ok bool
	if g.boot, ok = m.(frames.Boot); !ok {
		return fail(frames.StageProtocol, "first frame is not Boot", nil)
	}
	err := syscall.Mkdir(homeDir, 0o700)
	if err == nil {
		err = syscall.Chown(homeDir, int(g.boot.UID), int(g.boot.GID))
	}
	if err != nil {
		return fail(frames.StageSetup, "make "+homeDir, err)
	}
	return nil
}

// next blocks until the daemon's next frame.
func (g *guest) next() (frames.Message, *failure) {
	m, err := g.in.Next()
	if err != nil {
		return nil, readFailure(err)
	}
	return m, nil
}

func readFailure(err error) *failure {
	if fe := (*frames.Error)(nil); errors.As(err, &fe) && fe.Code != frames.CutShort {
		return fail(frames.StageProtocol, fe.Error(), nil)
	}
	return closed
}

// heard handles frames that arrive while the job runs. Only Stop is legal.
func (g *guest) heard() *failure {
	if err := g.in.Fill(); err != nil {
		return readFailure(err)
	}
	for {
		m, err := g.in.Buffered()
		switch {
		case err != nil:
			return readFailure(err)
		case m == nil:
			return nil
		case m.Type() != frames.TypeStop:
			return fail(frames.StageProtocol, "unexpected frame of type "+strconv.Itoa(int(m.Type())), nil)
		}
		g.stopped = true
	}
}

// awaitClose waits until the daemon closes the control socket.
func (g *guest) awaitClose() *failure {
	for {
		if f := g.heard(); f != nil {
			return f
		}
	}
}

// fatal reports the failure and exits, which ends every process of the sandbox.
func (g *guest) fatal(f *failure) {
	_ = syscall.Kill(-1, syscall.SIGKILL) // the exit of PID 1 does the same
	if f == closed {
		syscall.Exit(0)
	}
	m := frames.Fatal{Stage: f.stage, Message: clip(f.what)}
	if e := syscall.Errno(0); errors.As(f.err, &e) {
		m.Errno = uint32(e)
		m.Message = clip(f.what + ": " + e.Error())
	}
	_ = g.out.Send(m) // on failure the daemon gets EOF
	syscall.Exit(1)
}

// clip makes s a valid text of a frame: UTF-8, printable, at most MaxText bytes.
func clip(s string) string {
	b := make([]byte, 0, min(len(s), frames.MaxText)+4)
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			r = '?'
		}
		before := len(b)
		if b = append(b, string(r)...); len(b) > frames.MaxText {
			return string(b[:before])
		}
	}
	return string(b)
}
