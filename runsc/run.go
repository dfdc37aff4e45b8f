package runsc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RunOpts is one sandbox to boot.
type RunOpts struct {
	ID     string // as CheckID wants it; random, made by tsubo
	Bundle string // absolute path of the directory of config.json, of this sandbox alone; runsc's pid file goes there too

	// Stdin, Stdout and Stderr become those of PID 1, and on the way the property of the sandbox's user: never a file of the host's. Nil is
	// the end for writing of a pipe that is broken once Run returns. The caller keeps and closes its own.
	Stdin, Stdout, Stderr *os.File

	OOMScoreAdj *int // of the sandbox process once it has booted; nil leaves what runsc made of it
}

func (o RunOpts) pidFile() string { return filepath.Join(o.Bundle, "pid") }

// idRE leaves out what runsc would take for a flag, a path or a pattern.
var idRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// CheckID refuses what must not name a sandbox.
func CheckID(id string) error {
	if !idRE.MatchString(id) {
		return fmt.Errorf("sandbox id %q: must match %s", id, idRE)
	}
	return nil
}

// Run boots a sandbox and returns the host's pid of its sandbox process once PID 1 has been started inside. The sandbox outlives
// the call, and the command is gone.
//
// The command is started from the calling thread: who wants the sandbox's processes in a network namespace locks the thread, enters
// the namespace, and calls Run. When ctx ends first the command is killed. After any error nothing is left: neither processes nor
// files in Root; only the bundle and the leaf, which are the caller's.
func (r *Runsc) Run(ctx context.Context, o RunOpts) (pid int, err error) {
	if err := CheckID(o.ID); err != nil {
		return 0, err
	}
	if !filepath.IsAbs(o.Bundle) || filepath.Clean(o.Bundle) != o.Bundle {
		return 0, fmt.Errorf("bundle %q: the path must be absolute and clean", o.Bundle)
	}
	if err := r.checkRoot(o.ID); err != nil {
		return 0, err
	}
	if err := r.Check(); err != nil {
		return 0, err
	}
	if err := os.Remove(o.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("remove an old pid file: %w", err)
	}

	// The kernel sends Pdeathsig when the thread that forked ends, so this one has to stay for as long as the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	complaints, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("boot sandbox %s: %w", o.ID, err)
	}
	defer func() { _ = complaints.Close() }() // only read

	unread, nowhere, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("boot sandbox %s: %w", o.ID, err), w.Close())
	}
	defer func() { _ = unread.Close() }() // later than the command, which says on stderr what it also logs
	cmd := r.command(ctx, Args(r.Root, r.Flags, o)...)
	cmd.ExtraFiles = []*os.File{w} // fd 3: --log-fd
	cmd.Stdin, cmd.Stdout, cmd.Stderr = cmp.Or(o.Stdin, nowhere), cmp.Or(o.Stdout, nowhere), cmp.Or(o.Stderr, nowhere)
	err = cmd.Start()
	_, _ = w.Close(), nowhere.Close() // the command has its own
	if err != nil {
		return 0, fmt.Errorf("boot sandbox %s: start runsc: %w", o.ID, errors.Join(context.Cause(ctx), err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.undo(o))
		}
	}()
	said := make(chan string, 1)
	go func() { said <- readComplaints(complaints) }()
	err = cmd.Wait()
	if err != nil {
		_ = complaints.SetReadDeadline(time.Now().Add(time.Second)) // should a child of the command hold the other end
		return 0, fmt.Errorf("boot sandbox %s: runsc: %w%s", o.ID, errors.Join(context.Cause(ctx), err), <-said)
	}
	if pid, err = readPID(o.pidFile()); err != nil {
		return 0, err
	}
	if err = r.checkExecutable(pid); err != nil {
		return 0, fmt.Errorf("boot sandbox %s: %w", o.ID, err)
	}
	if o.OOMScoreAdj != nil {
		if err = setOOMScoreAdj(pid, *o.OOMScoreAdj); err != nil {
			return 0, fmt.Errorf("boot sandbox %s: %w", o.ID, err)
		}
	}
	return pid, nil
}

// setOOMScoreAdj gives the sandbox process its oom_score_adj. runsc does so for a single container, but not for a sandbox that waits
// for one, which keeps the far lower score of the daemon.
func setOOMScoreAdj(pid, score int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}

// undo ends and removes what a failed Run has left. It has a bound of its own, because the caller's context may be what ended. The
// command is gone, so nothing new is started; but a process that it started has no arguments for a moment while it executes itself
// once more, so that undo looks again until it sees none in that state.
func (r *Runsc) undo(o RunOpts) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var errs []error
	for {
		becoming := 0
		pids, err := r.processes(func(pid int) bool {
			switch r.look(pid, o.Bundle) {
			case started:
				return true
			case nameless:
				if isChild(pid) { // another sandbox's stub processes are not
					becoming++
				}
			}
			return false
		})
		if err := errors.Join(err, ctx.Err(), r.KillProcesses(ctx, o.Bundle, pids...)); err != nil {
			errs = append(errs, err)
			break
		}
		if becoming+len(pids) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return errors.Join(append(errs, r.RemoveState(o.ID))...)
}

// environment is that of the runsc command: a chain of short steps, which one thread at a time does in less, and a runtime that neither looks for
// cgroups nor names its mappings. A sandbox has nothing of it.
var environment = []string{
	"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1", "GODEBUG=containermaxprocs=0,updatemaxprocs=0,decoratemappings=0",
}

// command is runsc with an environment that holds nothing of the daemon's, in a session of its own and so without the daemon's share of the CPU,
// killed when ctx or this thread ends.
func (r *Runsc) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.Path, args...)
	cmd.Dir = "/"
	cmd.Env = slices.Clone(environment)
	sentries := noSentries
	if r.sentry != nil {
		sentries = filepath.Dir(r.sentry.Path)
	}
	cmd.Env = append(cmd.Env, sentryDir+"="+sentries)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// readPID reads the number in runsc's pid file.
func readPID(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read runsc's pid file: %w", err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("read runsc's pid file: %q is no pid", data)
	}
	return pid, nil
}

// maxComplaints is how much of what runsc says is kept, in bytes.
const maxComplaints = 4096

// readComplaints reads what runsc wrote to its log to the end and returns it as the tail of an error message.
func readComplaints(f io.Reader) string {
	var buf capped
	_, _ = io.Copy(&buf, f) // what came counts
	var text []string
	for d := json.NewDecoder(strings.NewReader(buf.String())); ; {
		var line struct{ Msg string }
		if err := d.Decode(&line); err != nil {
			break
		}
		text = append(text, line.Msg)
	}
	if len(text) == 0 {
		return buf.suffix()
	}
	return ": " + strings.Join(text, "; ")
}

// capped keeps the first maxComplaints bytes written to it and takes the rest.
type capped struct{ kept []byte }

func (c *capped) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p[:min(len(p), maxComplaints-len(c.kept))]...)
	return len(p), nil
}

func (c *capped) String() string { return string(c.kept) }

// suffix is what was written as the tail of an error message, "" for nothing.
func (c *capped) suffix() string {
	if text := strings.TrimSpace(c.String()); text != "" {
		return ": " + text
	}
	return ""
}
