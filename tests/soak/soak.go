package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/tests/hoststate"
	"github.com/tsubo-run/tsubo/tests/procs"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

type soak struct {
	opt         tsubod.Options
	jobs, width int

	daemon *tsubod.Daemon
	client *client.Client

	victim           sync.Mutex
	excuses, excused atomic.Int64
}

// warmup is how many jobs go before the first count, so that whatever is made once is there.
const warmup = 120

// What may be more afterwards without being a leak: descriptors of idle connections and of
// namespaces made ahead, goroutines that serve such connections, and what the allocator has not
// given back.
const (
	slackFDs        = 8
	slackGoroutines = 8
	slackRSS        = 16 << 20
)

// counts is everything that is compared.
type counts struct {
	hoststate.State
	Files      int // below the run directory, and what is being made below the state directory
	RSS        int64
	Goroutines int
}

func (s *soak) run(ctx context.Context) (err error) {
	started := time.Now()
	// How many goroutines a daemon has at rest is asked of one that is then ended by it.
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.work(ctx, warmup, nil); err != nil {
		return errors.Join(err, s.daemon.Stop())
	}
	goroutines, err := s.endByDump(ctx)
	if err != nil {
		return err
	}
	// Started in the same place again: it sweeps what the other held.
	if err := s.start(ctx); err != nil {
		return err
	}
	defer func() {
		s.client.Close()
		err = errors.Join(err, s.daemon.Stop(), s.nothing())
	}()
	if err := s.work(ctx, warmup, nil); err != nil {
		return err
	}
	before, err := s.count(ctx, nil)
	if err != nil {
		return err
	}
	before.Goroutines = goroutines
	say(started, "%d jobs begin, %d at a time; limits enforced: %v", s.jobs, s.width, s.opt.Strict)
	if err := s.work(ctx, s.jobs, func(done int, of map[string]int) { say(started, "%d jobs", done) }); err != nil {
		return err
	}
	after, err := s.count(ctx, &before)
	if err != nil {
		return err
	}
	if after.Goroutines, err = s.endByDump(ctx); err != nil {
		return err
	}
	printCounts(before, after)
	leaked := grown(before, after)
	if err := s.start(ctx); err != nil { // sweeps
		return err
	}
	if len(leaked) > 0 {
		return errors.New("leaked: " + strings.Join(leaked, ", "))
	}
	say(started, "%d jobs, each ended as it must; %d ended otherwise because their sandbox was killed; nothing is left.", s.jobs, s.excused.Load())
	return nil
}

func (s *soak) start(ctx context.Context) (err error) {
	if s.daemon, err = tsubod.Start(ctx, s.opt); err != nil {
		return err
	}
	s.client = client.New(s.daemon.Socket)
	return nil
}

// work runs n jobs, mixed, and stops at the first that ended as it must not.
func (s *soak) work(ctx context.Context, n int, tell func(done int, of map[string]int)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next  atomic.Int64
		group sync.WaitGroup
		mu    sync.Mutex
		done  int
		of    = map[string]int{}
	)
	for range s.width {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				k := mix(i, s.opt.Strict)
				if err := k.run(ctx, s); err != nil {
					cancel(fmt.Errorf("job %d, %s: %w", i, k.name, err))
					return
				}
				mu.Lock()
				done++
				of[k.name]++
				if tell != nil && (done%500 == 0 || done == n) {
					tell(done, of)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(s.daemon.Log()))
	}
	if tell != nil {
		for _, k := range kinds {
			fmt.Printf("%10d %s\n", of[k.name], k.name)
		}
	}
	return nil
}

func tail(log string) string { return log[max(0, len(log)-3000):] }

// settleBound is how long what jobs leave may take to be cleared away, and what is to wait to be
// there again.
const settleBound = 3 * time.Minute

// count takes the counts once the daemon is at rest; with before it waits until nothing is above
// it, or the bound is over.
func (s *soak) count(ctx context.Context, before *counts) (c counts, err error) {
	s.client.Close()
	for deadline := time.Now().Add(settleBound); ; {
		if err := s.full(ctx, time.Until(deadline)); err != nil {
			return c, err
		}
		if err := s.daemon.Settle(ctx, 10*time.Second); err != nil {
			return c, err
		}
		s.client.Close()
		pause(ctx, time.Second)
		if c.State, err = hoststate.Take(hoststate.Where{PID: s.daemon.PID(), RunDir: s.daemon.RunDir, JobsPath: s.daemon.JobsCgroup(), Own: true}); err != nil {
			return c, err
		}
		if c.RSS, err = procs.RSS(s.daemon.PID()); err != nil {
			return c, err
		}
		c.Files = files(s.daemon.RunDir) + files(filepath.Join(s.daemon.DataDir, "rootfs", "staging")) + files(filepath.Join(s.daemon.DataDir, "images", "staging"))
		if before == nil {
			return c, nil
		}
		c.Goroutines = before.Goroutines // counted last
		if len(grown(*before, c)) == 0 || time.Now().After(deadline) {
			return c, ctx.Err()
		}
	}
}

// full waits until as much waits as is configured: two types of two, and two empty ones.
func (s *soak) full(ctx context.Context, bound time.Duration) error {
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); pause(ctx, 50*time.Millisecond) {
		p, err := s.client.PoolSandboxes(ctx)
		if err != nil {
			return err
		}
		if p.Booting == 0 && p.HotWaiting >= 4 && p.WarmWaiting >= 2 {
			return nil
		}
	}
	return nil // the counts will tell
}

// files is the number of entries below dir.
func files(dir string) int {
	n := 0
	_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil }) // what goes meanwhile does not count
	return n
}

// grown names everything that is more in after.
func grown(before, after counts) []string {
	all := hoststate.Grown(before.State, after.State, slackFDs)
	for name, n := range map[string][3]int64{
		"files":      {int64(before.Files), int64(after.Files), 0},
		"goroutines": {int64(before.Goroutines), int64(after.Goroutines), slackGoroutines},
		"RSS":        {before.RSS, after.RSS, slackRSS},
	} {
		if n[1] > n[0]+n[2] {
			all = append(all, fmt.Sprintf("%s %d → %d", name, n[0], n[1]))
		}
	}
	slices.Sort(all)
	return all
}

// endByDump ends the daemon and returns how many goroutines it had.
func (s *soak) endByDump(ctx context.Context) (int, error) {
	if err := s.full(ctx, settleBound); err != nil {
		return 0, err
	}
	s.client.Close()
	if err := s.daemon.Settle(ctx, 10*time.Second); err != nil {
		return 0, err
	}
	dump, err := s.daemon.Dump()
	if err != nil {
		return 0, err
	}
	n := goroutines(dump)
	if n == 0 {
		return 0, errors.New("tsubod told nothing of its goroutines: " + tail(dump))
	}
	return n, nil
}

var goroutineRE = regexp.MustCompile(`(?m)^goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[`)

// goroutines counts those in the dump of a Go program, the scheduler's own one of the thread that
// got the signal included.
func goroutines(dump string) int { return len(goroutineRE.FindAllString(dump, -1)) }

// nothing reports what a daemon that was stopped has left.
func (s *soak) nothing() error {
	all, err := procs.List()
	if err != nil {
		return err
	}
	var left []string
	for _, p := range all {
		if slices.Contains(procs.Args(p.PID), "--root="+filepath.Join(s.daemon.RunDir, "runsc")) {
			left = append(left, fmt.Sprintf("process %d %s", p.PID, p.Name))
		}
	}
	if cgroup := s.daemon.JobsCgroup(); cgroup != "" {
		if _, err := os.Stat(cgroup); err == nil {
			left = append(left, "cgroup "+cgroup)
		}
	}
	if len(left) > 0 {
		return errors.New("left after a stop: " + strings.Join(left, ", "))
	}
	return nil
}

func printCounts(before, after counts) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tprocesses\tleaves\tnamespaces\tmounts\trunsc files\tbundles\tdescriptors\tfiles\tgoroutines\tRSS MB\t")
	for _, c := range []struct {
		name string
		counts
	}{{"before", before}, {"after", after}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", c.name, c.Processes, c.Leaves, c.Namespaces, c.Mounts, c.RunscFiles, c.Bundles,
			c.FDs, c.Files, c.Goroutines, float64(c.RSS)/(1<<20))
	}
	_ = table.Flush()
}
