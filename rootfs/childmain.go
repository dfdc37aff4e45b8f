package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaybeChild runs this process as a child of this package and exits, if it was started as a child.
// Otherwise it returns at once. A main that opens a [Store] (and a TestMain) must call it first.
func MaybeChild() {
	if len(os.Args) > 1 && os.Args[1] == childName {
		os.Exit(ChildMain(os.Args[2:]))
	}
}

// ChildMain runs the step in args and returns the exit status.
func ChildMain(args []string) int {
	runtime.LockOSThread()
	a, err := childStep(args)
	if err != nil {
		a = answer{Message: err.Error()}
		switch {
		case errors.Is(err, ErrInvalid):
			a.Kind = "invalid"
		case noSpace(err):
			a.Kind = "space"
		case errors.Is(err, ErrConfig):
			a.Kind = "config"
		}
		if len(a.Message) > 4<<10 {
			a.Message = a.Message[:4<<10]
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil || !a.OK {
		return 1
	}
	return 0
}

func childStep(args []string) (answer, error) {
	if len(args) != 1 {
		return answer{}, errors.New("for tsubod's own use")
	}
	if err := inOwnUserNamespace(); err != nil {
		return answer{}, err
	}
	var req request
	if err := json.NewDecoder(io.LimitReader(os.Stdin, 1<<20)).Decode(&req); err != nil {
		return answer{}, fmt.Errorf("decode request: %w", err)
	}
	req.Limits = req.Limits.withDefaults()
	if err := limitSelf(req.Limits); err != nil {
		return answer{}, err
	}
	unix.Umask(0o022)

	switch args[0] {
	case "unpack":
		if err := confine(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER); err != nil {
			return answer{}, err
		}
		return unpack(req)
	case "verify":
		if err := confine(unix.CAP_DAC_READ_SEARCH); err != nil {
			return answer{}, err
		}
		return verify()
	case "mkfs":
		return answer{}, execMkfs(req)
	}
	return answer{}, fmt.Errorf("unknown step %q", args[0])
}

// inOwnUserNamespace refuses to run as the host's root, whatever started this process.
func inOwnUserNamespace() error {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("read uid_map: %w", err)
	}
	if f := strings.Fields(string(b)); len(f) != 3 || f[0] != "0" || f[1] == "0" || f[2] != fmt.Sprint(idRange) {
		return configf("not in a user namespace of its own")
	}
	return nil
}

// limitSelf sets the resource limits and the oom_score_adj of a job. With the daemon's inherited
// score, an image build would outlive every job when the host runs out of memory.
func limitSelf(l Limits) error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0); err != nil {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	debug.SetMemoryLimit(int64(l.Memory / 2)) //nolint:gosec // far below 2^63
	size := uint64(l.UnpackedBytes)           //nolint:gosec // positive by withDefaults
	limits := []struct {
		name  string
		which int
		max   uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"fsize", unix.RLIMIT_FSIZE, size + size/8 + 64<<20}, // the EROFS image is as large as the tree and its inodes
		{"cpu", unix.RLIMIT_CPU, max(1, uint64(l.CPU.Seconds()))},
		{"nofile", unix.RLIMIT_NOFILE, 1024},
		{"nproc", unix.RLIMIT_NPROC, 256},
		{"data", unix.RLIMIT_DATA, l.Memory},
	}
	for _, r := range limits {
		if r.which == unix.RLIMIT_DATA && raceEnabled {
			continue // the detector's shadow alone is larger
		}
		var cur unix.Rlimit
		if err := unix.Getrlimit(r.which, &cur); err != nil {
			return fmt.Errorf("getrlimit %s: %w", r.name, err)
		}
		m := min(r.max, cur.Max)
		if err := unix.Setrlimit(r.which, &unix.Rlimit{Cur: m, Max: m}); err != nil {
			return fmt.Errorf("setrlimit %s to %d: %w", r.name, m, err)
		}
	}
	return nil
}

// confine makes the work directory the only visible file tree and drops every capability except
// keep. The process cannot undo this: leaving a chroot takes CAP_SYS_CHROOT, a chrooted process
// cannot make another user namespace, and no descriptor of an outside directory is open.
func confine(keep ...int) error {
	if err := unix.Fchdir(workFD); err != nil {
		return fmt.Errorf("enter work directory: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	if err := unix.Close(workFD); err != nil {
		return fmt.Errorf("close work directory: %w", err)
	}
	if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, c := range keep {
		data[c/32].Effective |= 1 << (c % 32)
		data[c/32].Permitted |= 1 << (c % 32)
	}
	if err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data))); err != nil { //nolint:gosec // capset(2)
		return fmt.Errorf("drop capabilities: %w", err)
	}
	runtime.KeepAlive(&hdr)
	runtime.KeepAlive(&data)
	return filterSystemCalls()
}

// allThreads makes a system call on every thread of the process. A cgo binary (tests under the race
// detector; never a release) cannot do that. There the call affects only the calling thread, which
// is locked and does all file work.
func allThreads(trap, a1, a2 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		_, _, errno = syscall.RawSyscall6(trap, a1, a2, 0, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// execMkfs executes mkfs.erofs, which reads /tree and writes /out/root.erofs. Its file tree holds
// nothing else of tsubo's. Its only capability allows reading files whose modes deny their owner.
func execMkfs(req request) error {
	if err := mkfsRoot(workFD, filesFD); err != nil {
		return err
	}
	for c := 0; c <= unix.CAP_LAST_CAP; c++ {
		if c == unix.CAP_DAC_READ_SEARCH {
			continue
		}
		// EINVAL: a capability that this kernel does not know.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := filterSystemCalls("execve"); err != nil {
		return err
	}
	if err := unix.Exec("/mkfs.erofs", req.Argv, req.Env); err != nil {
		return fmt.Errorf("exec mkfs.erofs: %w", err)
	}
	return nil
}
