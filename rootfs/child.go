package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childName is the first argument that makes the daemon's binary a child of this package; see
// MaybeChild.
const childName = "unpack-child"

// Descriptors of a child: 0 is the request, 1 the answer, 2 error output, 3 the work directory. The
// step's own descriptors follow.
const (
	workFD  = 3
	filesFD = 4
)

// idRange is the number of ids that an image may use: 0 to 65535.
const idRange = 1 << 16

// request is a child's input, as JSON on its standard input.
type request struct {
	Layers      []layerRequest `json:"layers,omitempty"` // descriptors filesFD, filesFD+1, …
	MountPoints bool           `json:"mount_points,omitempty"`
	Argv        []string       `json:"argv,omitempty"` // of mkfs.erofs, which is filesFD
	Env         []string       `json:"env,omitempty"`
	Limits      Limits         `json:"limits"`
}

type layerRequest struct {
	Name        string      `json:"name"`
	Size        int64       `json:"size"`
	Digest      string      `json:"digest"`
	DiffID      string      `json:"diff_id"`
	Compression Compression `json:"compression"`
}

// answer is a child's report, as JSON on its standard output. Only a failure is believed: if a
// compromised unpacker calls an image good, that image still runs only in a sandbox.
type answer struct {
	OK      bool   `json:"ok"`
	Kind    string `json:"kind,omitempty"` // "invalid", "space", "config" or ""
	Message string `json:"message,omitempty"`
	Entries int    `json:"entries,omitempty"`
	Bytes   int64  `json:"bytes,omitempty"`
}

const maxAnswer = 64 << 10

// err converts the answer to an error of this package's kinds.
func (a answer) err() error {
	msg := printable(a.Message, 1024)
	switch {
	case a.OK:
		return nil
	case a.Kind == "invalid":
		return invalidf("%s", msg)
	case a.Kind == "space":
		return &kindError{kind: ErrNoSpace, msg: "no space left where images are kept; make room or remove images", err: errors.New(msg)}
	case a.Kind == "config":
		return configf("%s", msg)
	}
	return errors.New(msg)
}

// child starts one step and waits for its exit. No process remains when child returns: the child is
// PID 1 of its PID namespace. raw marks a step that executes another program and gives no answer;
// the error then holds the tail of the output.
func (s *Store) child(ctx context.Context, step string, work *os.File, files []*os.File, req request, raw bool) (answer, error) {
	in, err := json.Marshal(req)
	if err != nil {
		return answer{}, fmt.Errorf("encode request: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", childName, step)
	cmd.Args[0] = "tsubo-" + childName
	cmd.Env = []string{"GOTRACEBACK=none"}
	if raceEnabled {
		cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // a child has no races to wait a second for
	}
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	cmd.ExtraFiles = append([]*os.File{work}, files...)
	stdout, stderr := &tail{max: maxAnswer}, &tail{max: 4 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), stdout, stderr
	if raw {
		cmd.Stdout = stderr
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(s.opts.IDBase), Size: idRange}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, Groups: []uint32{}},
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	if s.opts.Leaf != nil {
		leaf, release, err := s.opts.Leaf(ctx)
		if err != nil {
			return answer{}, fmt.Errorf("make leaf for %s: %w", step, err)
		}
		defer func() {
			if err := release(); err != nil {
				s.log.Warn("remove leaf of an image build", "err", err)
			}
		}()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(leaf.Fd())
	}

	// The parent-death signal follows the forking thread, so that thread must outlive the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return answer{}, startError(err)
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return answer{}, fmt.Errorf("%s: %w", step, context.Cause(ctx))
	case killed(err):
		return answer{}, invalidf("%s was killed: the image takes more processor time or memory than an import may", step)
	case raw && err == nil:
		return answer{OK: true}, nil
	case raw:
		return answer{}, &exitError{step: step, err: err, output: printable(string(stderr.Bytes()), 1024)}
	}
	var a answer
	if jerr := json.Unmarshal(stdout.Bytes(), &a); jerr != nil || !a.OK && a.Message == "" {
		return answer{}, &exitError{step: step, err: err, output: printable(string(stderr.Bytes()), 1024)}
	}
	return a, a.err()
}

// killed reports whether a child was killed. Only this package (its context has the reason) and the
// kernel, at a limit, kill children.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	ws, ok := exit.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && (ws.Signal() == syscall.SIGKILL || ws.Signal() == syscall.SIGXCPU)
}

// exitError reports a child that failed without an answer.
type exitError struct {
	step   string
	err    error
	output string
}

func (e *exitError) Error() string {
	if e.output == "" {
		return fmt.Sprintf("%s: %s", e.step, exitText(e.err))
	}
	return fmt.Sprintf("%s: %s: %s", e.step, exitText(e.err), e.output)
}

func (e *exitError) Unwrap() error { return e.err }

func startError(err error) error {
	for _, no := range []error{unix.EPERM, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, no) {
			return configf("user namespaces cannot be made (%v): images are only unpacked in one; run tsubod as root with "+
				"CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID and set sysctl user.max_user_namespaces above 0", err)
		}
	}
	if errors.Is(err, unix.EACCES) {
		return configf("tsubod cannot start itself in a user namespace (%v): its file must be readable and executable by everyone", err)
	}
	return fmt.Errorf("start unpacker: %w", err)
}

// printable returns s as one line for an error message: control and non-ASCII bytes escaped, at
// most limit bytes of s.
func printable(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) > limit {
		s = "…" + s[len(s)-limit:]
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(" | ")
		case r == '…' || r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
