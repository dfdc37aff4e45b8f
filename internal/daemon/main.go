package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/rootfs"
)

// Version is set by the build (-ldflags -X).
var Version = "dev"

// Exit statuses of tsubod.
const (
	exitOK      = 0
	exitFailure = 1 // it ran and something went wrong
	exitRefused = 2 // it did not serve: configuration, host, or another daemon
)

// gcPercent keeps the heap, which is small, close to what is alive in it: jobs leave little
// garbage, and a daemon at rest should hold little.
const gcPercent = 50

// Main runs tsubod and returns its exit status.
func Main(args []string, stderr io.Writer) int {
	rootfs.MaybeChild()
	status := exitOK
	app := &cli.App{
		Name:            "tsubod",
		Usage:           "runs untrusted programs, each in a gVisor sandbox of its own",
		Version:         Version,
		HideHelpCommand: true,
		ErrWriter:       stderr,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE` (default: $TSUBO_CONFIG, then /etc/tsubo/tsubo.yaml)"},
			&cli.BoolFlag{Name: "tcp", Usage: "listen on TCP, too, at server_host and server_port (default 127.0.0.1:8000)"},
			&cli.BoolFlag{Name: "check-config", Usage: "read the configuration, say what is wrong with it, and exit"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("unexpected argument %q: tsubod takes options only", c.Args().First())
			}
			load := func() (*config.Config, error) {
				cfg, err := config.Load(c.String("config"))
				if err == nil && c.Bool("tcp") {
					cfg.Access.TCP = true
				}
				return cfg, err
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			if c.Bool("check-config") {
				if err := checkAccess(cfg); err != nil {
					return err
				}
				fmt.Fprintln(c.App.Writer, "configuration is good")
				return nil
			}
			status, err = run(c.Context, cfg, load, stderr)
			return err
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := app.Run(args); err != nil {
		printError(stderr, err)
		return max(status, exitRefused)
	}
	return status
}

// printError puts each joined error on a line of its own.
func printError(w io.Writer, err error) {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) && err.Error() == errors.Join(many.Unwrap()...).Error() {
		for _, e := range many.Unwrap() {
			printError(w, e)
		}
		return
	}
	fmt.Fprintf(w, "tsubod: %v\n", err)
}

// checkAccess is what --check-config does beyond reading the file.
func checkAccess(cfg *config.Config) error {
	k, err := openKeys(cfg)
	if err != nil {
		return err
	}
	_, err = cfg.CheckAccess(len(k.List()) > 0)
	return err
}

func run(ctx context.Context, cfg *config.Config, load func() (*config.Config, error), stderr io.Writer) (int, error) {
	log := newLogger(cfg, stderr)
	// Before anything is held: a signal that comes while the daemon starts must still undo what was
	// done.
	ctx, hurry, reload, forget := listen(ctx, log)
	defer forget()
	syscall.Umask(0o077)
	if err := noCoreDumps(); err != nil {
		return exitRefused, err
	}
	if err := owned.Refuse(cfg); err != nil {
		return exitRefused, err
	}
	leaves, locks, err := enter(ctx, cfg, log)
	if err != nil {
		return exitRefused, err
	}
	if err := boundMemory(cfg, leaves); err != nil {
		return exitRefused, errors.Join(err, closeTree(leaves), locks.Close())
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "warning", w)
	}
	d, err := Start(ctx, cfg, leaves, log)
	if err != nil {
		return exitRefused, errors.Join(err, locks.Close())
	}
	log.Info("serving", "mode", cfg.SecurityMode)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	debug.FreeOSMemory() // what images and migrations took is not needed again
	err = d.attend(ctx, reload, load)
	if err = errors.Join(err, d.Close(hurry), locks.Close()); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}

// oomScore is the daemon's oom_score_adj: when the host runs out of memory, every sandbox (500)
// goes first.
const oomScore = "-500"

// boundMemory bounds the memory of tsubod: by the Go runtime, unless the operator's GOMEMLIMIT does
// so, and by its leaf where there is one. A host that runs out of memory ends others first.
func boundMemory(cfg *config.Config, leaves *limits.Tree) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		// A goal, not a bound: what is garbage goes soon. What is alive may pass it, up to the
		// leaf's memory.max.
		debug.SetMemoryLimit(cfg.DaemonMemory / 10)
	}
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0)
	if err != nil && !errors.Is(err, os.ErrPermission) { // without CAP_SYS_RESOURCE it stays as it is, below the sandboxes'
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	if leaves == nil {
		return nil
	}
	return leaves.LimitDaemon(cfg.DaemonMemory)
}

func closeTree(leaves *limits.Tree) error {
	if leaves == nil {
		return nil
	}
	return leaves.Close()
}

// noCoreDumps keeps the host's core handler, which runs as root, away from the memory of the daemon
// and of every process that it starts. A sandbox process that breaks its filter is killed by a
// signal that dumps core, with memory that a job has written.
func noCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set RLIMIT_CORE to 0: %w", err)
	}
	return nil
}

// listen turns the operator's signals into contexts: stop ends with the first SIGTERM or SIGINT,
// hurry with the second, and the third ends the process at once; each SIGHUP comes through reload.
// forget gives the signals back.
func listen(ctx context.Context, log *slog.Logger) (stop, hurry context.Context, reload <-chan struct{}, forget func()) {
	stop, cancel := context.WithCancel(ctx)
	hurry, hurryUp := context.WithCancel(context.WithoutCancel(ctx))
	again := make(chan struct{}, 1)
	signals := make(chan os.Signal, 8)
	over := make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-over:
				return
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					select {
					case again <- struct{}{}:
					default: // one is already waiting
					}
				case stop.Err() == nil:
					cancel()
				default:
					log.Warn("a second signal: running jobs are interrupted now")
					signal.Stop(signals)
					hurryUp()
					return
				}
			}
		}
	}()
	return stop, hurry, again, func() {
		signal.Stop(signals)
		close(over)
		cancel()
		hurryUp()
	}
}

// attend returns when the daemon is to stop: nil when ctx ends, else why it cannot go on. Until
// then it reloads the configuration when it is asked to.
func (d *Daemon) attend(ctx context.Context, reload <-chan struct{}, load func() (*config.Config, error)) error {
	for {
		select {
		case err := <-d.Failed():
			d.log.Error("stopping after a failure", "error", err)
			return err
		case <-ctx.Done():
			d.log.Info("stopping")
			return nil
		case <-reload:
		}
		cfg, err := load()
		if err == nil {
			err = d.Reload(cfg)
		}
		if err != nil {
			d.log.Error("the configuration is not reloaded: the old one stays in force", "error", err)
		}
	}
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: cfg.Level()}))
}

// fileLock is an exclusive lock that lasts until Close or the end of the process.
type fileLock struct{ f *os.File }

// Close frees the lock.
func (l *fileLock) Close() error {
	if l == nil || l.f == nil {
		return nil
	}
	return l.f.Close()
}
