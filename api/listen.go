package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSocketPath is the longest path of a Unix socket in bytes: sun_path of unix(7) less its NUL.
const MaxSocketPath = 107

// DefaultMaxConns is how many connections a listener has open at most by default.
const DefaultMaxConns = 512

// ListenOptions locate the Unix socket.
type ListenOptions struct {
	Path string // absolute
	// Group owns the socket and, when it is made here, its directory; "" for that of the process.
	Group string
	// MaxConns bounds the open connections of all uids other than 0; one of them gets at most half,
	// so that nobody shuts the others out. Root has as many of its own, so that it always gets in.
	// 0 is DefaultMaxConns.
	MaxConns int
}

// Listen opens the socket with mode 0660 and the group, whatever the umask is, in a directory that
// is made 0750 when it is not there. The socket appears under its path only when it listens with
// its final mode. A socket file on which nobody listens is replaced; one on which somebody does, or
// another kind of file, is an error. Close removes the path if it is still this socket's.
func Listen(o ListenOptions) (net.Listener, error) {
	if n := len(o.Path); n > MaxSocketPath || !filepath.IsAbs(o.Path) {
		return nil, fmt.Errorf("socket path of %d bytes: must be absolute and at most %d bytes; set socket or run_dir to a shorter path", n, MaxSocketPath)
	}
	gid, err := groupID(o.Group)
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(filepath.Clean(o.Path))
	if err := makeDir(dir, gid); err != nil {
		return nil, err
	}
	if err := checkStale(o.Path); err != nil {
		return nil, err
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket directory %s: %w", dir, err)
	}
	undo := func() { _ = unix.Close(at) }
	defer func() { undo() }()

	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	temporary := ".new-" + hex.EncodeToString(random)
	// The directory is named by descriptor: short enough for sun_path, and the same directory as in
	// the calls below.
	config := net.ListenConfig{Control: lockMode}
	bound, err := config.Listen(context.Background(), "unix", fmt.Sprintf("/proc/self/fd/%d/%s", at, temporary))
	if err != nil {
		return nil, fmt.Errorf("bind socket in %s: %w", dir, err)
	}
	inner, is := bound.(*net.UnixListener)
	if !is {
		return nil, errors.Join(fmt.Errorf("listener of type %T", bound), bound.Close())
	}
	inner.SetUnlinkOnClose(false)
	fail := func(what string, err error) (net.Listener, error) {
		_ = unix.Unlinkat(at, temporary, 0)
		return nil, errors.Join(fmt.Errorf("%s socket %s: %w", what, o.Path, err), inner.Close())
	}
	if err := unix.Fchownat(at, temporary, -1, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("chown", err)
	}
	if err := unix.Fchmodat(at, temporary, 0o660, 0); err != nil {
		return fail("chmod", err)
	}
	var own unix.Stat_t
	if err := unix.Fstatat(at, temporary, &own, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("stat", err)
	}
	if err := unix.Renameat(at, temporary, at, base); err != nil {
		return fail("put into place", err)
	}
	undo = func() {}
	return &listener{UnixListener: inner, at: at, base: base, inode: own.Ino, conns: newConnCount(cmp.Or(o.MaxConns, DefaultMaxConns))}, nil
}

// lockMode takes every permission off the socket before it is bound: bind gives the file the mode
// of the socket's own inode less the umask (unix_bind_bsd in the kernel), so nobody can connect
// before the group is set.
func lockMode(_, _ string, c syscall.RawConn) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = unix.Fchmod(int(fd), 0) }); err != nil {
		return err
	}
	return inner
}

// groupID is the gid of a group, that of the process for "".
func groupID(name string) (int, error) {
	if name == "" {
		return os.Getegid(), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("socket group: %w: make it with groupadd --system, or set socket_group to another", err)
	}
	return strconv.Atoi(g.Gid)
}

// MakeDir makes the directory of a socket with mode 0750 and the group, whatever the umask is; one
// that is there is left as it is. Listen does it, too; a daemon that needs the directory earlier
// calls this first.
func MakeDir(dir, group string) error {
	gid, err := groupID(group)
	if err != nil {
		return err
	}
	return makeDir(dir, gid)
}

func makeDir(dir string, gid int) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil { //nolint:gosec // above the socket's directory, such as /run
		return fmt.Errorf("make socket directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make socket directory: %w", err)
	}
	if err := os.Chown(dir, -1, gid); err != nil {
		return fmt.Errorf("give socket directory to its group: %w", err)
	}
	if err := os.Chmod(dir, 0o750); err != nil { //nolint:gosec // the group must reach the socket
		return fmt.Errorf("open socket directory to its group: %w", err)
	}
	return nil
}

// checkStale accepts a path where nothing is, or a socket on which nobody listens.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket: remove it, or set socket to another path", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = c.Close()
		return fmt.Errorf("something already listens on %s: is another tsubod running?", path)
	case errors.Is(err, unix.ECONNREFUSED):
		return nil
	}
	return fmt.Errorf("find out whether somebody listens on %s: %w", path, err)
}

// listener knows the uid of each connection and bounds their number.
type listener struct {
	*net.UnixListener
	at    int // the socket's directory
	base  string
	inode uint64
	conns *connCount
	once  sync.Once
	err   error
}

// peerConn is a connection whose other end was opened by uid.
type peerConn struct {
	*net.UnixConn
	uid     uint32
	release func()
}

// Accept returns the next connection that the bounds allow; one over them is closed at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err != nil {
			_ = c.Close() // it is gone already, or is nobody
			continue
		}
		release, ok := l.conns.take(uid)
		if !ok {
			_ = c.Close()
			continue
		}
		return &peerConn{UnixConn: c, uid: uid, release: sync.OnceFunc(release)}, nil
	}
}

// Close stops listening and removes the socket's path unless another socket has taken it. It may
// come twice.
func (l *listener) Close() error {
	l.once.Do(func() {
		var now unix.Stat_t
		if err := unix.Fstatat(l.at, l.base, &now, unix.AT_SYMLINK_NOFOLLOW); err == nil && now.Ino == l.inode {
			l.err = unix.Unlinkat(l.at, l.base, 0)
		}
		l.err = errors.Join(l.err, l.UnixListener.Close(), unix.Close(l.at))
	})
	return l.err
}

func (c *peerConn) Close() error {
	c.release()
	return c.UnixConn.Close()
}

// peerUID is the uid that connected, as the kernel noted it at connect(2).
func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if inner != nil {
		return 0, fmt.Errorf("read peer credentials: %w", inner)
	}
	return cred.Uid, nil
}

func uidName(uid uint32) string { return fmt.Sprintf("uid:%d", uid) }

// connCount bounds connections in all and per uid.
type connCount struct {
	mu   sync.Mutex
	most int
	all  int
	by   map[uint32]int
}

func newConnCount(most int) *connCount {
	return &connCount{most: max(2, most), by: map[uint32]int{}}
}

// take counts one connection of uid and returns the function that takes it off again, or false when
// there are too many.
func (c *connCount) take(uid uint32) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if uid == 0 {
		if c.by[0] >= c.most {
			return nil, false
		}
	} else if c.all-c.by[0] >= c.most || c.by[uid] >= c.most/2 {
		return nil, false
	}
	c.all++
	c.by[uid]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.by[uid]--; c.by[uid] == 0 {
			delete(c.by, uid)
		}
	}, true
}
