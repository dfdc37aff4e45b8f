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

// BecomeSubreaper makes this process the parent of sandboxes whose runsc command has exited. Their
// pids then stay valid until [Reap], and no other process on the host inherits them. The setting
// applies to the whole process and is not inherited.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	return nil
}

// Processes returns the pids of the sandbox and gofer processes that were started with bundle,
// whatever their parent, and of the runsc command if it is still running.
func (r *Runsc) Processes(bundle string) ([]int, error) {
	return r.processes(func(pid int) bool { return r.runs(pid, bundle) })
}

// AllProcesses returns the pids of all such processes whose --root is Root. After a crash of the
// daemon on a host without leaves, these are its leftovers.
func (r *Runsc) AllProcesses() ([]int, error) {
	return r.processes(func(pid int) bool { return r.runs(pid, "") })
}

// Whereabouts returns, for a log, where in the kernel the threads of each process of bundle wait,
// and how many threads wait at each place.
func (r *Runsc) Whereabouts(bundle string) string {
	pids, err := r.Processes(bundle)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/task", pid)
		threads, _ := os.ReadDir(dir) // empty if the process has exited
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

// kind classifies a process by its own arguments.
type kind int

const (
	other    kind = iota // not a runsc process, or exited
	started              // a runsc process of this Root (and bundle)
	nameless             // runs runsc or the sentry without arguments: a stub, or inside execve(2)
)

// look returns the kind of pid. A bundle of "" matches any. look relies on the arguments, which a
// process can set itself. A forged command line only endangers the forger's own process. The binary
// is not compared, so that sandboxes of an older runsc are found after an upgrade. The arguments
// are read only once, because a process may be replacing them, with an empty list in between.
func (r *Runsc) look(pid int, bundle string) kind {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return other
	}
	if len(cmdline) == 0 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "exe"), &st); err != nil { // a kernel thread, or exited
			return other
		}
		if r.is(&st) || r.sentry != nil && r.sentry.is(&st) {
			return nameless
		}
		return other
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	// Between fork and exec, a sandbox process still has the name of the command.
	if !slices.Contains([]string{"runsc-sandbox", "runsc-gofer", r.Path}, args[0]) ||
		!slices.Contains(args, "--root="+r.Root) {
		return other
	}
	// `run` and `boot` take --bundle=X, `gofer` takes --bundle X.
	i := slices.Index(args, "--bundle")
	if bundle == "" || slices.Contains(args, "--bundle="+bundle) || i >= 0 && i+1 < len(args) && args[i+1] == bundle {
		return started
	}
	return other
}

// is reports whether st belongs to the binary.
func (r *Runsc) is(st *unix.Stat_t) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return st.Dev == r.id.dev && st.Ino == r.id.ino
}

// runs reports whether pid is a runsc process of this Root and bundle.
func (r *Runsc) runs(pid int, bundle string) bool { return r.look(pid, bundle) == started }

// KillProcesses kills pids, waits until they are dead or ctx ends, and reaps the children of this
// process among them. A child is killed without a check, because its pid cannot be reused before it
// is reaped. Any other process is killed only if it still matches Processes with the same bundle,
// or AllProcesses if bundle is "". A missing pid is no error. All errors are joined.
func (r *Runsc) KillProcesses(ctx context.Context, bundle string, pids ...int) error {
	// Wait on the pidfd that the signal was sent to: a dying process loses its arguments before it
	// is dead.
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

// kill sends SIGKILL to pid and returns the process's pidfd, which the caller closes. It returns -1
// if the process is gone or not ours.
func (r *Runsc) kill(pid int, bundle string) (int, error) {
	// Open the descriptor first, so that it refers to the process that is checked next.
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

// Reap waits for and reaps every pid that is a child of this process. It returns an error for each
// child that is still alive when ctx ends. Reap is for sandboxes whose leaf was killed. A pid that
// was reaped before is no error.
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

// isChild reports whether pid is a child of this process, running or not yet reaped.
func isChild(pid int) bool {
	return pid > 1 && ignoringEINTR(func() error {
		return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	}) == nil
}

// end waits until pid has exited, and reaps it if it is a child.
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

// ended is end with an open pidfd.
func ended(ctx context.Context, pid, fd int) error {
	for {
		// Poll in slices, because ctx may end without a deadline.
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
		return fmt.Errorf("reap process %d: %w", pid, err)
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
