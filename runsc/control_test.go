package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// sentry is the far end of a control socket, driven by a test. answer is called with each call and
// its descriptors.
func sentry(t *testing.T, answer func(call map[string]any, files []int) (string, []byte)) *Control {
	t.Helper()
	dir, err := os.MkdirTemp("", "tsubo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName("x")), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			first, oob := make([]byte, 1), make([]byte, 1024)
			n, oobn, _, _, err := conn.ReadMsgUnix(first, oob)
			if err != nil || n == 0 {
				return
			}
			var fds []int
			if messages, _ := unix.ParseSocketControlMessage(oob[:oobn]); len(messages) > 0 {
				fds, _ = unix.ParseUnixRights(&messages[0])
			}
			var call map[string]any
			err = json.NewDecoder(io.MultiReader(strings.NewReader(string(first)), conn)).Decode(&call)
			if err != nil {
				return
			}
			text, rights := answer(call, fds)
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			if text == "" {
				return
			}
			if _, _, err := conn.WriteMsgUnix([]byte(text), rights, nil); err != nil {
				return
			}
		}
	}()
	r := &Runsc{Root: dir}
	c, err := r.Connect(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), l.Close(); <-done })
	return c
}

func TestControlStart(t *testing.T) {
	dir := t.TempDir()
	var images []string
	for _, name := range []string{"root", "guest"} {
		images = append(images, filepath.Join(dir, name))
		if err := os.WriteFile(images[len(images)-1], []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var calls []map[string]any
	var got []string
	c := sentry(t, func(call map[string]any, files []int) (string, []byte) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, call)
		for _, fd := range files {
			var st unix.Stat_t
			_ = unix.Fstat(fd, &st)
			b := make([]byte, 8)
			n, _ := unix.Read(fd, b)
			kinds := map[uint32]string{unix.S_IFIFO: "pipe", unix.S_IFSOCK: "socket", unix.S_IFREG: "file "}
			got = append(got, kinds[st.Mode&unix.S_IFMT]+string(b[:max(n, 0)]))
		}
		return `{"success":true,"err":"","result":{}}`, nil
	})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdin, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	defer stdin.Close()
	defer far.Close()
	spec := json.RawMessage(`{"hostname":"` + strings.Repeat("x", 1<<20) + `"}`) // more than a socket's buffer
	if err := errors.Join(c.Alive(), c.Create(t.Context(), "job"),
		c.Start(t.Context(), Container{ID: "job", Spec: spec, Images: images, Stdin: stdin})); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(calls) != 2 || calls[0]["method"] != "containerManager.CreateSubcontainer" ||
		calls[1]["method"] != "containerManager.StartSubcontainer" {
		t.Fatalf("calls %v", calls)
	}
	arg := calls[1]["arg"].(map[string]any)
	arg["Spec"] = len(arg["Spec"].(map[string]any)["hostname"].(string))
	text, _ := json.Marshal(arg)
	want := `{"CID":"job","Conf":{"OCISeccomp":true},` +
		`"GoferMountConfs":[{"lower":2,"upper":0},{"lower":2,"upper":0}],"Spec":1048576}`
	if string(text) != want {
		t.Errorf("arg %s, want %s", text, want)
	}
	if want := "socket, pipe, pipe, file root, file guest"; strings.Join(got, ", ") != want {
		t.Errorf("descriptors %q, want %s", got, want)
	}
}

// TestControlBelievesNothing checks that every call ends within its bounds and without received
// descriptors, whatever the sandbox answers.
func TestControlBelievesNothing(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	for name, test := range map[string]struct{ answer, want string }{
		"refused":   {`{"success":false,"err":"no \u001b such thing"}`, `refused: "no \x1b such thing"`},
		"long":      {`{"success":false,"err":"` + strings.Repeat("x", 10_000) + `"}`, "refused"},
		"endless":   {`{"success":true,"err":"` + strings.Repeat("x", 2*maxAnswer) + `"}`, "unexpected EOF"},
		"nothing":   {"", "EOF"},
		"no object": {"[]", "cannot unmarshal"},
		"empty":     {"{}", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sentry(t, func(map[string]any, []int) (string, []byte) {
				return test.answer, nil
			})
			err := c.Create(t.Context(), "job")
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
				t.Errorf("%d bytes of error: %.200v, want one with %q", len(err.Error()), err, test.want)
			}
		})
	}
	t.Run("descriptors", func(t *testing.T) {
		c := sentry(t, func(map[string]any, []int) (string, []byte) {
			return `{"success":true}`, unix.UnixRights(0, 0, 0)
		})
		if err := c.Create(t.Context(), "job"); err != nil { // after which both ends are open
			t.Fatal(err)
		}
		before := open()
		if err := c.Create(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		if after := open(); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
	t.Run("mute", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		hold := make(chan struct{})
		c := sentry(t, func(map[string]any, []int) (string, []byte) {
			cancel(cause)
			<-hold
			return "", nil
		})
		err := c.Create(ctx, "job")
		close(hold)
		if !errors.Is(err, cause) {
			t.Errorf("error %v, want %v", err, cause)
		}
	})
	t.Run("gone", func(t *testing.T) {
		c := sentry(t, func(map[string]any, []int) (string, []byte) { return "", nil })
		_ = c.Create(t.Context(), "job") // the other end is closed
		if c.Alive() == nil {
			t.Error("alive after its end")
		}
	})
}

func TestControlRefusesNames(t *testing.T) {
	r := &Runsc{Root: t.TempDir()}
	for _, id := range []string{"", "../x", "-x", "a/b"} {
		if _, err := r.Connect(t.Context(), id); err == nil {
			t.Errorf("connects to %q", id)
		}
		if err := (&Control{}).Create(t.Context(), id); err == nil {
			t.Errorf("creates %q", id)
		}
	}
}
