package api

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(ListenOptions{Path: path, MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestListenModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		path := filepath.Join(shortDir(t), "run", "tsubo.sock")
		old := syscall.Umask(umask)
		l, err := Listen(ListenOptions{Path: path, MaxConns: 8})
		syscall.Umask(old)
		if umask == 0o777 && err != nil {
			continue // its own user may be unable to enter the directories that this umask makes
		}
		if err != nil {
			t.Fatal(err)
		}
		if m := mode(t, path); m != fs.ModeSocket|0o660 {
			t.Errorf("umask %o: socket %v", umask, m)
		}
		if m := mode(t, filepath.Dir(path)); m != fs.ModeDir|0o750 {
			t.Errorf("umask %o: directory %v", umask, m)
		}
		if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
			t.Errorf("left behind: %v, %v", names, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("socket is still there: %v", err)
		}
	}
}

func TestMakeDirLeavesWhatIsThere(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	old := syscall.Umask(0o077)
	err := MakeDir(dir, "")
	syscall.Umask(old)
	if err != nil || mode(t, dir) != fs.ModeDir|0o750 {
		t.Errorf("made %v, %v", mode(t, dir), err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(dir, ""); err != nil || mode(t, dir) != fs.ModeDir|0o700 {
		t.Errorf("changed to %v, %v", mode(t, dir), err)
	}
	if err := MakeDir(filepath.Join(dir, "x"), "no such group"); err == nil || !strings.Contains(err.Error(), "groupadd") {
		t.Errorf("unknown group: %v", err)
	}
}

// Between bind and the final mode nobody may connect: the mode at bind is what the control function
// left.
func TestSocketIsLockedWhenBound(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	l, err := (&net.ListenConfig{Control: lockMode}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if m := mode(t, path); m != fs.ModeSocket {
		t.Errorf("mode %v, want none", m)
	}
}

func TestListenReplacesOnlyAStaleSocket(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	first := listen(t, path)
	if _, err := Listen(ListenOptions{Path: path, MaxConns: 8}); err == nil || !strings.Contains(err.Error(), "another tsubod") {
		t.Errorf("second listener: %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first is unreachable now: %v", err)
	}
	_ = c.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, link} {
		if _, err := Listen(ListenOptions{Path: p, MaxConns: 8}); err == nil || !strings.Contains(err.Error(), "is no socket") {
			t.Errorf("%s: %v", p, err)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "keep me" {
		t.Errorf("file is now %q, %v", data, err)
	}

	// A listener whose path another has taken leaves it alone.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := listen(t, path)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if m := mode(t, path); m.Type() != fs.ModeSocket {
		t.Errorf("the second's socket is gone: %v", m)
	}
	_ = second
}

func TestListenPathLength(t *testing.T) {
	dir := shortDir(t)
	for _, c := range []struct {
		length int
		fits   bool
	}{{MaxSocketPath, true}, {MaxSocketPath + 1, false}} {
		path := filepath.Join(dir, strings.Repeat("a", c.length-len(dir)-1))
		l, err := Listen(ListenOptions{Path: path, MaxConns: 8})
		if (err == nil) != c.fits {
			t.Errorf("%d bytes: %v", c.length, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "at most 107 bytes") {
				t.Errorf("%d bytes: %v", c.length, err)
			}
			continue
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Error(err)
		} else {
			_ = conn.Close()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Listen(ListenOptions{Path: "relative/s"}); err == nil {
		t.Error("took a relative path")
	}
}

func TestPeerIsKnownAndCounted(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l := listen(t, path)
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	client := dial()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p, is := server.(*peerConn)
	if !is || p.uid != uint32(os.Getuid()) {
		t.Errorf("accepted %T %+v", server, server)
	}
	counts := l.(*listener).conns
	if counts.all != 1 {
		t.Errorf("%d connections counted", counts.all)
	}
	for range 2 { // a second Close counts nothing off
		_ = server.Close()
	}
	if counts.all != 0 || len(counts.by) != 0 {
		t.Errorf("%d connections counted, by uid %v", counts.all, counts.by)
	}
	_ = client.Close()

	// Over the bound a connection is closed, and the next one that fits is accepted.
	counts.mu.Lock()
	counts.by[p.uid], counts.all = counts.most, counts.most
	counts.mu.Unlock()
	over := dial()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	if n, err := over.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d, %v", n, err)
	}
	counts.mu.Lock()
	counts.by[p.uid], counts.all = 0, 0
	counts.mu.Unlock()
	fits := dial()
	_ = (<-accepted).Close()
	_ = fits.Close()
	_ = over.Close()
}

func TestConnCount(t *testing.T) {
	c := newConnCount(8)
	take := func(uid uint32, want int) (releases []func()) {
		t.Helper()
		for {
			release, ok := c.take(uid)
			if !ok {
				break
			}
			releases = append(releases, release)
		}
		if len(releases) != want {
			t.Errorf("uid %d got %d connections, want %d", uid, len(releases), want)
		}
		return releases
	}
	one := take(1, 4)
	take(2, 4)
	take(3, 0)
	take(0, 8) // root gets in when all others are full
	one[0]()
	take(3, 1)
}
