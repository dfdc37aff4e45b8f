package conformance

import (
	"bytes"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// native runs programs in the image's root on this kernel, with nothing of tsubo's in between, one
// at a time.
type native struct {
	mu  sync.Mutex
	img image
}

// wired is the environment of wire.md section 3 before the image's own.
var wired = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp/home",
	"XDG_CACHE_HOME=/tmp/home/.cache", "MPLCONFIGDIR=/tmp/home/.cache/matplotlib"}

func newNative(t *testing.T, l language) *native {
	t.Helper()
	// What this test was started with is not for the programs to see.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	n := &native{img: unpack(t, l.layout(t))}
	if err := errors.Join(unix.Mount(n.img.root, n.img.root, "", unix.MS_BIND, ""), unix.Mount("", n.img.root, "", unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(n.img.root, unix.MNT_DETACH) })
	for _, m := range []struct {
		target, source, fs string
		flags              uintptr
		data               string
	}{
		{"/proc", "proc", "proc", 0, ""},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC, ""},
		{"/tmp", "tmpfs", "tmpfs", 0, "mode=1777"},
		{"/code", "tmpfs", "tmpfs", 0, "mode=0755"},
		{"/input", "tmpfs", "tmpfs", 0, "mode=0755"},
	} {
		target := n.img.root + m.target
		err := os.MkdirAll(target, 0o755)
		if err == nil {
			err = unix.Mount(m.source, target, m.fs, m.flags, m.data)
		}
		if err == nil && m.fs == "" {
			err = unix.Mount("", target, "", unix.MS_REC|unix.MS_PRIVATE, "") // what is taken away here stays there
		}
		if err != nil {
			t.Fatalf("mount %s: %v", m.target, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	}
	if err := os.WriteFile(filepath.Join(n.img.root, "input/data.json"), []byte("{}"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", n.img.root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("make the root read-only: %v", err)
	}
	return n
}

func (n *native) run(t *testing.T, p program) outcome {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	output, code := n.img.root+"/output", n.img.root+"/code/main"+p.language.suffix
	err := errors.Join(os.MkdirAll(output, 0o755), unix.Mount("tmpfs", output, "tmpfs", 0, "mode=0777,uid=1000,gid=1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(output, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	home := n.img.root + "/tmp/home"
	if err := errors.Join(os.RemoveAll(home), os.Mkdir(home, 0o700), os.Chown(home, 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(code)
	if err := errors.Join(os.WriteFile(code, []byte(p.code), 0o444), os.Chmod(code, 0o444)); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	env := map[string]string{}
	for _, kv := range append(wired[:len(wired):len(wired)], n.img.env...) {
		k, v, _ := strings.Cut(kv, "=")
		if k != "HOME" || env[k] == "" {
			env[k] = v
		}
	}
	argv := append(slices.Clone(p.language.argv), p.args...)
	cmd := &exec.Cmd{Path: "/usr/bin/" + argv[0], Args: argv, Dir: "/output",
		Stdin: strings.NewReader(p.stdin), Stdout: &stdout, Stderr: &stderr, Env: []string{}, WaitDelay: 10 * time.Second,
		SysProcAttr: &syscall.SysProcAttr{Chroot: n.img.root, Setsid: true, Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{stdout: stdout.String(), stderr: stderr.String(), status: cmd.ProcessState.ExitCode()}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		o.status = 128 + int(ws.Signal())
	}
	return o
}
