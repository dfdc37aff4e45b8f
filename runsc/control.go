package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Control is a connection to the control socket of an empty sandbox, over which a job's container
// is added. It replaces `runsc create` and `runsc start`. The protocol is runsc's own (packages
// pkg/urpc and runsc/boot): a JSON value per call and per result, with descriptors beside them. The
// protocol depends on runsc's version, so users of Control must prove by a canary that the
// installed binary understands it.
//
// A Control is for a sandbox that has run no caller's code, and must be closed before one runs.
// Even so only the success of a call is taken from its answer. Answers are read up to a limit,
// without ancillary data, and within the context's time. A Control is not safe for concurrent use.
type Control struct {
	conn *net.UnixConn
	id   string
}

// maxAnswer limits the result of a call, in bytes.
const maxAnswer = 64 << 10

// Connect opens the control socket of a sandbox that Run has booted.
func (r *Runsc) Connect(ctx context.Context, id string) (*Control, error) {
	if err := errors.Join(CheckID(id), r.checkRoot(id)); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(r.Root, socketName(id)))
	if err != nil {
		return nil, fmt.Errorf("connect to sandbox %s: %w", id, err)
	}
	return &Control{conn: conn.(*net.UnixConn), id: id}, nil
}

// Close closes the connection. The sandbox keeps running.
func (c *Control) Close() error { return c.conn.Close() }

// Alive returns nil if the sandbox still holds the other end of the connection, or else the reason.
// It does not block.
func (c *Control) Alive() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("check the control socket of sandbox %s: %w", c.id, err)
	}
	fds := []unix.PollFd{{Events: unix.POLLIN | unix.POLLRDHUP}}
	var pollErr error
	err = raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		pollErr = ignoringEINTR(func() error {
			_, err := unix.Poll(fds, 0)
			return err
		})
	})
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("check the control socket of sandbox %s: %w", c.id, err)
	}
	if fds[0].Revents != 0 {
		return fmt.Errorf("sandbox %s ended", c.id)
	}
	return nil
}

// Create announces a container to the sandbox.
func (c *Control) Create(ctx context.Context, container string) error {
	if err := CheckID(container); err != nil {
		return err
	}
	return c.call(ctx, "containerManager.CreateSubcontainer", struct{ CID string }{container})
}

// Container is a container for [Control.Start].
type Container struct {
	ID     string          // the ID given to Create
	Spec   json.RawMessage // OCI configuration with an EROFS root
	Images []string        // EROFS image files of the root and the erofs mounts, in Spec's order
	Stdin  *os.File        // becomes fd 0 of PID 1; the caller closes its own copy
}

// startArgs is runsc/boot.StartArgs. Conf is the part of runsc/config.Config that runsc reads for a
// container besides its Spec. Omitted fields are zero, which is the most restrictive setting: no
// raw sockets, no host files, no overlay.
type startArgs struct {
	Spec            json.RawMessage
	Conf            struct{ OCISeccomp bool }
	CID             string
	GoferMountConfs []mountConf
}

// mountConf declares that a tree is an EROFS image without an overlay
// (runsc/specutils.GoferMountConf).
type mountConf struct {
	Lower int `json:"lower"`
	Upper int `json:"upper"`
}

var erofsAlone = mountConf{Lower: 2, Upper: 0}

// Start starts a created container. Its stdout and stderr are Run's defaults.
func (c *Control) Start(ctx context.Context, o Container) (err error) {
	args := startArgs{Spec: o.Spec, CID: o.ID}
	args.Conf.OCISeccomp = true
	unread, nowhere, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start a container in sandbox %s: %w", c.id, err)
	}
	defer func() { _, _ = nowhere.Close(), unread.Close() }()
	files := []*os.File{o.Stdin, nowhere, nowhere}
	for _, path := range o.Images {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("start a container in sandbox %s: %w", c.id, err)
		}
		defer func() { _ = f.Close() }() // only read
		files = append(files, f)
		args.GoferMountConfs = append(args.GoferMountConfs, erofsAlone)
	}
	return c.call(ctx, "containerManager.StartSubcontainer", args, files...)
}

// call makes a single call. After an error the connection must not be used again.
func (c *Control) call(ctx context.Context, method string, arg any, files ...*os.File) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("call %s of sandbox %s: %w", method, c.id, err)
		}
	}()
	data, err := json.Marshal(struct {
		Method string `json:"method"`
		Arg    any    `json:"arg"`
	}{method, arg})
	if err != nil {
		return err
	}
	broke := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(broke)
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // fails only on a closed socket
	})
	defer func() {
		if !stop() {
			<-broke
			err = errors.Join(context.Cause(ctx), err)
		}
	}()
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.conn.WriteMsgUnix(data, rights, nil)
	if err == nil && n < len(data) {
		_, err = c.conn.Write(data[n:])
	}
	if err != nil {
		return err
	}
	var answer struct {
		Success bool   `json:"success"`
		Err     string `json:"err"`
	}
	if err := json.NewDecoder(io.LimitReader(c.conn, maxAnswer)).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !answer.Success {
		return fmt.Errorf("refused: %.500q", answer.Err)
	}
	return nil
}
