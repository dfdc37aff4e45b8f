package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/runsc"
)

// lockVariable passes to stage two the descriptor that holds the lock of the state directory.
const lockVariable = "TSUBO_STATE_LOCK_FD"

// enter locks the state directory and enters the cgroup subtree. If limits can be enforced, stage
// one does not return: it re-executes the program in the prepared view, where enter returns. A nil
// Tree means a permissive daemon on a degraded host.
func enter(ctx context.Context, cfg *config.Config, log *slog.Logger) (*limits.Tree, *fileLock, error) {
	if limits.InStage2() {
		return enterStage2()
	}
	lock, err := lockState(cfg.DataDir)
	if err != nil {
		return nil, nil, err
	}
	missing := limits.Probe(cfg.CgroupParent).Missing()
	if cfg.Strict() {
		if err := refuse(cfg, missing); err != nil {
			return nil, nil, errors.Join(err, lock.Close())
		}
	}
	if len(missing) > 0 {
		for _, m := range missing {
			log.Warn("NOT ENFORCED on this host", "missing", m.What, "fix", m.Fix)
		}
		if err := preferSession(); err != nil {
			log.Warn("the daemon has no more of the CPU than a sandbox", "error", err)
		}
		return nil, lock, nil
	}
	subtree, err := limits.FindSubtree(cfg.CgroupParent)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	entered, err := limits.Enter(ctx, subtree)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	env := append(os.Environ(), lockVariable+"="+strconv.Itoa(int(lock.f.Fd())))
	return nil, nil, errors.Join(entered.Exec(os.Args, env, lock.f), lock.Close())
}

// autogroupNice gives a session nine times the weight of another.
const autogroupNice = "-10"

// preferSession keeps a daemon without cgroups responsive while sandboxes compete for the CPU. If
// the kernel schedules by session (sched(7), autogroup), the daemon's session gets more weight than
// a sandbox. With cgroups the daemon has as much CPU as all jobs together. In a session of another
// process, such as a shell, preferSession does nothing.
func preferSession() error {
	if sid, err := unix.Getsid(0); err != nil || sid != os.Getpid() {
		return err
	}
	f, err := os.OpenFile("/proc/self/autogroup", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(autogroupNice)
	return errors.Join(err, f.Close())
}

// refuse returns one error, with its fix, for each thing that strict mode needs and this host
// lacks.
func refuse(cfg *config.Config, missing []limits.Missing) error {
	var errs []error
	for _, m := range missing {
		errs = append(errs, fmt.Errorf("strict mode: this host lacks %s: %s", m.What, m.Fix))
	}
	if _, err := runsc.Find(cfg.RunscPath); err != nil {
		errs = append(errs, fmt.Errorf("strict mode: field runsc_path: %w: install runsc there, or name another one",
			err))
	}
	if _, err := os.Stat(cfg.InitPath); err != nil {
		errs = append(errs, fmt.Errorf(
			"strict mode: field init_path: %w: install tsubo-init there, or name another place", err))
	}
	return errors.Join(errs...)
}

func enterStage2() (*limits.Tree, *fileLock, error) {
	fd, err := strconv.Atoi(os.Getenv(lockVariable))
	if err != nil {
		return nil, nil, fmt.Errorf("stage two without the lock of stage one: %w", err)
	}
	if err := os.Unsetenv(lockVariable); err != nil {
		return nil, nil, err
	}
	unix.CloseOnExec(fd)
	// ps would show "exe" for a program executed from /proc/self/exe.
	if err := os.WriteFile("/proc/self/comm", []byte("tsubod"), 0); err != nil {
		return nil, nil, fmt.Errorf("name the process: %w", err)
	}
	lock := &fileLock{os.NewFile(uintptr(fd), "state lock")}
	tree, err := limits.Open()
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return tree, lock, nil
}

// fileLock is an exclusive lock that is held until Close or the end of the process.
type fileLock struct{ f *os.File }

// Close releases the lock. A nil lock is allowed.
func (l *fileLock) Close() error {
	if l == nil || l.f == nil {
		return nil
	}
	return l.f.Close()
}

// lockState locks the state directory against a second daemon.
func lockState(dir string) (*fileLock, error) {
	f, err := owned.Lock(dir)
	if err != nil {
		return nil, err
	}
	return &fileLock{f}, nil
}
