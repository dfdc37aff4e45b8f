package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// handleSignals converts the operator's signals. stop ends with the first SIGTERM or SIGINT, hurry
// with the second, and the third kills the process. Each SIGHUP is sent to reload. forget stops the
// handling of signals.
func handleSignals(ctx context.Context,
	log *slog.Logger) (stop, hurry context.Context, reload <-chan struct{}, forget func()) {
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
					default: // a reload is already pending
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
