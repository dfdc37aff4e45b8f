package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
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
	exitFailure = 1 // the daemon served and then failed
	exitRefused = 2 // the daemon did not serve: configuration, host, or another daemon
)

// gcPercent keeps the small heap close to its live size. Jobs produce little garbage, and an idle
// daemon should hold little memory.
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
			&cli.StringFlag{Name: "config",
				Usage: "configuration `FILE` (default: $TSUBO_CONFIG, then /etc/tsubo/tsubo.yaml)"},
			&cli.BoolFlag{Name: "tcp",
				Usage: "listen on TCP, too, at server_host and server_port (default 127.0.0.1:8000)"},
			&cli.BoolFlag{Name: "check-config", Usage: "check the configuration, report errors, and exit"},
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

// printError prints each joined error on a line of its own.
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

// checkAccess runs the checks of --check-config that need more than the file.
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
	// Before any resource is acquired: a signal during the start must still undo everything.
	ctx, hurry, reload, forget := handleSignals(ctx, log)
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
	debug.FreeOSMemory() // images and migrations needed memory only once
	err = d.attend(ctx, reload, load)
	if err = errors.Join(err, d.Close(hurry), locks.Close()); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
}

// oomScore is the daemon's oom_score_adj. If the host runs out of memory, every sandbox (500) is
// killed first.
const oomScore = "-500"

// boundMemory limits the memory of tsubod, by the Go runtime unless the operator set GOMEMLIMIT,
// and by its leaf if there is one. It also sets oom_score_adj, so that the host kills other
// processes first.
func boundMemory(cfg *config.Config, leaves *limits.Tree) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft limit: garbage is collected early, but live memory may exceed it, up to the leaf's
		// memory.max.
		debug.SetMemoryLimit(cfg.DaemonMemory / 10)
	}
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0)
	// Without CAP_SYS_RESOURCE the score stays unchanged, which is below the sandboxes'.
	if err != nil && !errors.Is(err, os.ErrPermission) {
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

// noCoreDumps keeps the host's core handler, which runs as root, from reading the memory of the
// daemon and its children. A sandbox process that violates its filter is killed by a signal that
// dumps core, with memory that a job has written.
func noCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("set RLIMIT_CORE to 0: %w", err)
	}
	return nil
}

func newLogger(cfg *config.Config, w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: cfg.Level()}))
}
