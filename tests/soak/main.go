// Command soak is `make soak`: many jobs that end in every way against a tsubod of its own, and
// then everything that the daemon holds on the host is counted and compared with what it held
// before. It needs root, and exits 1 when anything is left or a job ended as it must not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/tests/tsubod"
)

func main() {
	var (
		jobs     = flag.Int("jobs", 10_000, "how many jobs")
		width    = flag.Int("width", 6, "how many at a time")
		bin      = flag.String("bin", "build/bin", "folder of tsubod and tsubo-init")
		runscBin = flag.String("runsc", "build/bin/runsc", "runsc")
		layouts  = flag.String("images", "build/images", "folder of OCI layouts, python among them")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := place(*bin, *runscBin, *layouts)
	if err == nil {
		s := &soak{opt: o, jobs: *jobs, width: *width}
		err = errors.Join(s.run(ctx), os.RemoveAll(o.Dir), os.RemoveAll(filepath.Dir(o.Init)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// config keeps the same sandboxes waiting at all times, so that what waits before can be compared
// with what waits after.
const config = `pool_min: 2
pool_max: 2
warm_max: 2
max_workers: 6
job_types:
  - name: default
    memory_limit: 256m
    timeout: 120
  - name: small
    memory_limit: 64m
    timeout: 120
`

// place finds everything, and a folder whose path is short enough for a socket.
func place(bin, runscBin, layouts string) (o tsubod.Options, err error) {
	if os.Geteuid() != 0 {
		return o, errors.New("needs root, as tsubod does")
	}
	var errs []error
	absolute := func(path string) string {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		errs = append(errs, err)
		return real
	}
	o = tsubod.Options{
		Name: "soak", Bin: absolute(filepath.Join(bin, "tsubod")), Runsc: absolute(runscBin),
		Images: absolute(filepath.Join(layouts, "python")), Strict: tsubod.CanEnforce(), Config: config, Env: []string{"GOTRACEBACK=all"},
	}
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("%w (make build runsc image-python)", err)
	}
	installed, err := tsubod.Install(bin)
	if err != nil {
		return o, fmt.Errorf("%w (make build)", err)
	}
	o.Init = filepath.Join(installed, "tsubo-init")
	if o.Dir, err = os.MkdirTemp("/var/lib", "ts"); err != nil {
		return o, errors.Join(err, os.RemoveAll(installed))
	}
	return o, os.Chmod(o.Dir, 0o755) //nolint:gosec // roots below it are read by unprivileged sandboxes
}

// say reports progress.
func say(started time.Time, format string, args ...any) {
	fmt.Printf("%6.0f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
}
