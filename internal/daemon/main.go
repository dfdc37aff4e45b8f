package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/config"
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
			&cli.BoolFlag{Name: "check-config", Usage: "read the configuration, say what is wrong with it, and exit"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("unexpected argument %q: tsubod takes options only", c.Args().First())
			}
			cfg, err := config.Load(c.String("config"))
			if err != nil {
				return err
			}
			if c.Bool("check-config") {
				fmt.Fprintln(c.App.Writer, "configuration is good")
				return nil
			}
			status, err = run(c.Context, cfg, stderr)
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

func run(ctx context.Context, cfg *config.Config, stderr io.Writer) (int, error) {
	log := newLogger(cfg, stderr)
	// Before anything is held: a signal that comes while the daemon starts must still undo what was done.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	syscall.Umask(0o077)
	leaves, locks, err := enter(ctx, cfg, log)
	if err != nil {
		return exitRefused, err
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "warning", w)
	}
	d, err := Start(ctx, cfg, leaves, log)
	if err != nil {
		return exitRefused, errors.Join(err, locks.Close())
	}
	log.Info("serving", "socket", cfg.Socket, "mode", cfg.SecurityMode)
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-d.Failed():
		log.Error("stopping after a failure", "error", err)
	}
	stop() // a second signal ends the process at once
	if err = errors.Join(err, d.Close(), locks.Close()); err != nil {
		return exitFailure, err
	}
	return exitOK, nil
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
