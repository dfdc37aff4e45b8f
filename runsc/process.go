package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BecomeSubreaper makes this process the parent of sandboxes whose runsc command has ended, so that their pids stay theirs until
// Reap is called, and no other process on the host inherits them. It holds for the whole process and is not inherited.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	return nil
}

// Processes returns the pids of the sandbox and gofer processes that were started with bundle, and of the command that starts them
// if it is still at it, whoever their parent is now.
func (r *Runsc) Processes(bundle string) ([]int, error) {
	return r.processes(func(pid int) bool { return r.runs(pid, bundle) })
}

// AllProcesses returns the pids of every such process whose --root is Root: those that a crash of the daemon has left on
// a host without leaves.
func (r *Runsc) AllProcesses() ([]int, error) {
	return r.processes(func(pid int) bool { return r.runs(pid, "") })
}

// Whereabouts tells, for a log, where in the kernel the threads of each of the Processes of bundle wait, and how many at each place.
func (r *Runsc) Whereabouts(bundle string) string {
	pids, err := r.Processes(bundle)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/task", pid)
		threads, _ := os.ReadDir(dir) // a process that has ended is nowhere
		places := map[string]int{}
		for _, t := range threads {
			if at, err := os.ReadFile(filepath.Join(dir, t.Name(), "wchan")); err == nil {
				places[string(at)]++
			}
		}
		all = append(all, fmt.Sprintf("%d %v", pid, places))
	}
	return strings.Join(all, "; ")
}

func (r *Runsc) processes(match func(pid int) bool) ([]int, error) {
	f, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && match(pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// What a process is, as far as it says so itself.
type kind int

const (
	other    kind = iota // none of runsc's, or one that has ended
	started              // a runsc process of this Root (and bundle)
	nameless             // runs this very binary, or the sentry's, and has no arguments: a stub process, or one in the middle of execve(2)
)

// look says what pid is; a bundle of "" is any. It goes by the arguments, which are what a process says of itself: somebody who forges
// them offers a process of his own to be killed. The binary is not compared, so that sandboxes of an older runsc are found after
// an upgrade. The arguments are read once, since a process may be going from one set of them, over none, to another.
func (r *Runsc) look(pid int, bundle string) kind {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return other
	}
	if len(cmdline) == 0 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "exe"), &st); err != nil { // a kernel thread, or a process that has ended
			return other
		}
		if r.is(&st) || r.sentry != nil && r.sentry.is(&st) {
			return nameless
		}
		return other
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	// Between its fork and its exec, a sandbox process still has the name of the command.
	if !slices.Contains([]string{"runsc-sandbox", "runsc-gofer", r.Path}, args[0]) || !slices.Contains(args, "--root="+r.Root) {
		return other
	}
	// `run` and `boot` are given --bundle=X, `gofer` --bundle X.
	i := slices.Index(args, "--bundle")
	if bundle == "" || slices.Contains(args, "--bundle="+bundle) || i >= 0 && i+1 < len(args) && args[i+1] == bundle {
		return started
	}
	return other
}

// is says that st is that of the binary.
func (r *Runsc) is(st *unix.Stat_t) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return st.Dev == r.id.dev && st.Ino == r.id.ino
}

// runs says that pid is a runsc process of this Root and bundle.
func (r *Runsc) runs(pid int, bundle string) bool { return r.look(pid, bundle) == started }

// KillProcesses kills pids, waits until they are dead or ctx ends, and collects those that are children of this process. It kills a
// child as it is, because a child's pid cannot have become another's; another process only if it still is what Processes (with
// the same bundle) or AllProcesses ("") took it for. A pid that is gone is no error. All errors are joined.
func (r *Runsc) KillProcesses(ctx context.Context, bundle string, pids ...int) error {
	// Each killed one is waited for by the descriptor that it was killed by: a process that dies loses its arguments before it is dead.
	var errs []error
	killed := make(map[int]int, len(pids))
	for _, pid := range pids {
		fd, err := r.kill(pid, bundle)
		if err != nil {
			errs = append(errs, err)
		} else if fd >= 0 {
			killed[pid] = fd
		}
	}
	for pid, fd := range killed {
		if err := ended(ctx, pid, fd); err != nil {
			errs = append(errs, err)
		}
		_ = unix.Close(fd)
	}
	return errors.Join(errs...)
}

// kill returns the pidfd of a process that was sent SIGKILL, which is the caller's to close, and -1 for one that is gone or somebody else's.
func (r *Runsc) kill(pid int, bundle string) (int, error) {
	// The descriptor comes first: it stays with the process that is then looked at.
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	if !isChild(pid) && !r.runs(pid, bundle) {
		_ = unix.Close(fd)
		return -1, nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("kill process %d: %w", pid, err)
	}
	return fd, nil
}

// Reap waits until those of pids that are children of this process have ended, and collects them. It returns which are still alive
// when ctx ends. It is for the processes of sandboxes whose leaf was killed; a pid that was collected before is no error.
func Reap(ctx context.Context, pids ...int) error {
	var errs []error
	for _, pid := range pids {
		if !isChild(pid) {
			continue
		}
		if err := end(ctx, pid); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// isChild says that pid is a child of this process, running or not yet collected.
func isChild(pid int) bool {
	return pid > 1 && ignoringEINTR(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	}) == nil
}

// end waits until pid has ended, and collects it if it is a child.
func end(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	return ended(ctx, pid, fd)
}

// ended is end for a pid whose pidfd is fd.
func ended(ctx context.Context, pid, fd int) error {
	for {
		// In slices, because ctx may end without a deadline.
		slice := 100 * time.Millisecond
		if deadline, ok := ctx.Deadline(); ok {
			slice = max(0, min(slice, time.Until(deadline)))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(slice.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if n > 0 {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for process %d to end: %w", pid, context.Cause(ctx))
		}
	}
	err := ignoringEINTR(func() error {
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		return err
	})
	if err != nil && !errors.Is(err, unix.ECHILD) {
		return fmt.Errorf("collect process %d: %w", pid, err)
	}
	return nil
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
