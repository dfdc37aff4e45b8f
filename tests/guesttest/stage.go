package guesttest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stageName is argv[0] of the test binary when it makes a namespace ready for init.
const stageName = "guesttest-stage"

// stage is what it is shown.
type stage struct {
	Root  string      // an empty directory
	Binds [][2]string // host paths that appear read-only below it: source, target
	Guest string      // the directory bound to /.tsubo
	Hook  string      // the directory bound to /.tsubo/python, if any
	Env   []string
}

// Main is TestMain of every package that uses this one.
func Main(m *testing.M) {
	if os.Args[0] == stageName {
		err := enter(os.Args[1])
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1)
	}
	// Under nohup, or as a background job of a script, these are ignored, and so they would be in
	// what is started here; runsc starts init with the default dispositions.
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	os.Exit(code)
}

// public is the mode of what the job, of another uid, must get through to.
var public os.FileMode = 0o755

// dirs are the directories that every root has besides its binds.
var dirs = []string{"code", "input", "output", "tmp", "proc", "dev", "sys", ".tsubo", "home/sandbox"}

// capabilities are the six that init has.
var capabilities = []int{unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_KILL, unix.CAP_CHOWN, unix.CAP_DAC_READ_SEARCH}

// enter makes the calling process, first of fresh mount, pid, ipc and network namespaces, into
// init.
func enter(conf string) error {
	runtime.LockOSThread()
	var s stage
	if err := json.Unmarshal([]byte(conf), &s); err != nil {
		return err
	}
	const locked = unix.MS_NOSUID | unix.MS_NODEV
	mounts := []struct {
		source, target, fs string
		flags              uintptr
		data               string
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"root", s.Root, "tmpfs", 0, "mode=0755"},
	}
	for _, b := range s.Binds {
		mounts = append(mounts, struct {
			source, target, fs string
			flags              uintptr
			data               string
		}{b[0], s.Root + b[1], "", unix.MS_BIND, ""})
	}
	for _, m := range mounts {
		if m.fs == "" && m.source != "" {
			if err := mountPoint(m.source, m.target); err != nil {
				return err
			}
		}
		if err := unix.Mount(m.source, m.target, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(s.Root, d), public); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		source, target, fs string
		flags              uintptr
		data               string
	}{
		{s.Guest, "/.tsubo", "", unix.MS_BIND, ""},
		{"code", "/code", "tmpfs", locked | unix.MS_NOEXEC, "mode=0755"},
		{"input", "/input", "tmpfs", locked | unix.MS_NOEXEC, "mode=0755"},
		{"output", "/output", "tmpfs", locked | unix.MS_NOEXEC, "mode=0777,uid=1000,gid=1000,size=64m"},
		{"tmp", "/tmp", "tmpfs", locked | unix.MS_NOEXEC, "mode=1777,size=64m"},
		{"proc", "/proc", "proc", locked | unix.MS_NOEXEC, ""},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC, ""},
	} {
		if err := unix.Mount(m.source, s.Root+m.target, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if s.Hook != "" {
		if err := unix.Mount(s.Hook, s.Root+"/.tsubo/python", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount the hook: %w", err)
		}
	}
	if err := unix.Mount("", s.Root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	for _, step := range []func() error{
		func() error { return unix.Chroot(s.Root) },
		func() error { return unix.Chdir("/") },
		func() error { return rlimit(unix.RLIMIT_NPROC, LimitNPROC, LimitNPROC) },
		func() error { return rlimit(unix.RLIMIT_NOFILE, LimitNOFILE, LimitNOFILEHard) },
		func() error { return rlimit(unix.RLIMIT_FSIZE, LimitFSIZE, LimitFSIZE) },
		func() error { return rlimit(unix.RLIMIT_CORE, 0, 0) },
		dropOthers,
		// What runsc would do better, init must put right: no_new_privs is off, the umask is odd,
		// and there are groups.
		func() error { unix.Umask(0o077); return nil },
		func() error { return unix.Setgroups([]int{0, 4, 27}) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return syscall.Exec("/.tsubo/tsubo-init", []string{"/.tsubo/tsubo-init"}, s.Env)
}

// Limits of every test sandbox.
const (
	LimitNPROC      = 128
	LimitNOFILE     = 512
	LimitNOFILEHard = 1024
	LimitFSIZE      = 4 << 20
)

func rlimit(which int, soft, hard uint64) error {
	return unix.Setrlimit(which, &unix.Rlimit{Cur: soft, Max: hard})
}

// mountPoint makes target a file or directory as source is one.
func mountPoint(source, target string) error {
	fi, err := os.Stat(source)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return os.MkdirAll(target, public)
	}
	if err := os.MkdirAll(filepath.Dir(target), public); err != nil {
		return err
	}
	return os.WriteFile(target, nil, public)
}

// dropOthers leaves the six capabilities in the bounding set, from which root's exec takes its
// permitted and effective ones.
func dropOthers() error {
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		keep := false
		for _, k := range capabilities {
			keep = keep || c == k
		}
		if keep {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

func lookPath(name string) (string, error) { return exec.LookPath(name) }
