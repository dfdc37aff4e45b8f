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

// Control is a connection to the control socket of an empty sandbox, by which the container of a job is added to it: what `runsc create`
// and `runsc start` do, without a command. The protocol is runsc's own (its packages pkg/urpc and runsc/boot), one JSON value for a call
// and one for its result, descriptors beside them; it belongs to a version of runsc, and whoever uses it proves by a canary that the
// binary at hand takes it.
//
// It is for a sandbox that has run no caller's code, and is closed before it does. All the same nothing of an answer is believed but
// whether the call was taken: it is read to a bound, without ancillary data, within the context's time. A Control is for one goroutine
// at a time.
type Control struct {
	conn *net.UnixConn
	id   string
}

// maxAnswer bounds the result of one call in bytes.
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

// Close ends the connection. The sandbox goes on.
func (c *Control) Close() error { return c.conn.Close() }

// Alive tells whether the sandbox still has the other end of the connection: nil, or why it is of no use. It does not block.
func (c *Control) Alive() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("look at the control socket of sandbox %s: %w", c.id, err)
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
		return fmt.Errorf("look at the control socket of sandbox %s: %w", c.id, err)
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

// Container is one to start.
type Container struct {
	ID     string          // as it was created
	Spec   json.RawMessage // its OCI configuration, with an EROFS root
	Images []string        // the EROFS image files of the root and of the mounts of type erofs, in the order of Spec
	Stdin  *os.File        // becomes fd 0 of PID 1. The caller keeps and closes its own
}

// startArgs are runsc/boot.StartArgs. Conf is that part of runsc/config.Config which a container looks at beside its Spec; what is left out
// is zero, which is the most that can be refused (no raw sockets, no host files, no overlay).
type startArgs struct {
	Spec            json.RawMessage
	Conf            struct{ OCISeccomp bool }
	CID             string
	GoferMountConfs []mountConf
}

// mountConf says that a tree is an EROFS image with nothing over it (runsc/specutils.GoferMountConf).
type mountConf struct {
	Lower int `json:"lower"`
	Upper int `json:"upper"`
}

var erofsAlone = mountConf{Lower: 2, Upper: 0}

// Start starts a container that was created. Its stdout and stderr are as those of Run by default.
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

// call makes one call. After an error the connection is of no more use.
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
