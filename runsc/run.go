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

// RunOpts describes a sandbox to boot.
type RunOpts struct {
	ID     string // random name, valid for CheckID
	Bundle string // absolute directory with config.json, for this sandbox only; runsc's pid file goes there

	// Stdin, Stdout and Stderr become PID 1's. runsc gives them to the sandbox's user, so they must
	// not be files of the host. If nil, writes fail with EPIPE after Run returns. The caller closes
	// its own copies.
	Stdin, Stdout, Stderr *os.File

	OOMScoreAdj *int // of the booted sandbox process; nil keeps runsc's value
}

func (o RunOpts) pidFile() string { return filepath.Join(o.Bundle, "pid") }

// idRE excludes names that runsc would take for a flag, a path or a pattern.
var idRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// CheckID returns an error if id must not name a sandbox.
func CheckID(id string) error {
	if !idRE.MatchString(id) {
		return fmt.Errorf("sandbox id %q: must match %s", id, idRE)
	}
	return nil
}

// Run boots a sandbox and returns the host's pid of its sandbox process once PID 1 has started
// inside. The sandbox outlives the call; the command does not.
//
// The command starts on the calling thread. To place the sandbox's processes in a network
// namespace, the caller locks the thread, enters the namespace and calls Run. If ctx ends first,
// the command is killed. After an error no processes and no files in Root are left. The bundle and
// the leaf remain the caller's.
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

	// The kernel sends Pdeathsig when the forking thread exits, so this thread must outlive the
	// command.
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
	defer func() { _ = unread.Close() }() // after the command has exited, which also writes to stderr
	cmd := r.command(ctx, Args(r.Root, r.Flags, o)...)
	cmd.ExtraFiles = []*os.File{w} // fd 3: --log-fd
	cmd.Stdin, cmd.Stdout, cmd.Stderr = cmp.Or(o.Stdin, nowhere), cmp.Or(o.Stdout, nowhere), cmp.Or(o.Stderr, nowhere)
	err = cmd.Start()
	_, _ = w.Close(), nowhere.Close() // the command has copies
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
		// A child of the command may still hold the other end.
		_ = complaints.SetReadDeadline(time.Now().Add(time.Second))
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

// setOOMScoreAdj sets the oom_score_adj of the sandbox process. runsc does so for a single
// container, but not for a sandbox that waits for a container, which keeps the daemon's far lower
// score.
func setOOMScoreAdj(pid, score int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(score)), 0); err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}

// undo kills and removes the remains of a failed Run. It has its own time limit, because the
// caller's context may be the reason. The command is gone, so no new process starts. But a process
// that executes itself again has no arguments for a moment, so undo repeats until no process is in
// that state.
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
				if isChild(pid) { // stubs of other sandboxes are not children
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

// environment is the environment of the runsc command. The command is a chain of short steps, which
// a single thread does faster, and its Go runtime need not look for cgroups nor name its mappings.
// No variable reaches the sandbox.
var environment = []string{
	"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1",
	"GODEBUG=containermaxprocs=0,updatemaxprocs=0,decoratemappings=0",
}

// command returns a runsc command without the daemon's environment. The command runs in its own
// session, and so outside the daemon's share of the CPU. It is killed when ctx ends or this thread
// exits.
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

// maxComplaints is how many bytes of runsc's messages are kept.
const maxComplaints = 4096

// readComplaints reads runsc's log to EOF and returns its messages as the tail of an error message.
func readComplaints(f io.Reader) string {
	var buf capped
	_, _ = io.Copy(&buf, f) // a partial log is still useful
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

// capped keeps the first maxComplaints bytes and discards the rest.
type capped struct{ kept []byte }

func (c *capped) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p[:min(len(p), maxComplaints-len(c.kept))]...)
	return len(p), nil
}

func (c *capped) String() string { return string(c.kept) }

// suffix returns the kept text as the tail of an error message. It is "" if there is none.
func (c *capped) suffix() string {
	if text := strings.TrimSpace(c.String()); text != "" {
		return ": " + text
	}
	return ""
}
