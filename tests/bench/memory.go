package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/tests/procs"
)

const mb = 1 << 20

// waits measures what waits, before anything ran.
func (b *bench) waits(ctx context.Context, figures map[string]number, why map[string]string) error {
	for tier, name := range map[string]string{hot: "hot_sandbox_pss_mb", warm: "warm_sentry_pss_mb"} {
		t := b.tsubos[tier]
		if t == nil {
			why[name] = b.absent["tsubo-"+tier]
			continue
		}
		if err := t.settle(ctx); err != nil {
			return err
		}
		p, err := t.pool(ctx)
		if err != nil {
			return err
		}
		want := p.HotWaiting
		if tier == warm {
			want = p.WarmWaiting
		}
		sizes, err := sandboxSizes(t)
		if err != nil {
			return err
		}
		if want == 0 || len(sizes) < want {
			why[name] = fmt.Sprintf("%d wait, %d have processes", want, len(sizes))
			continue
		}
		// Where empty sentries wait beside hot ones, the larger are the hot ones.
		s := spreadOf(sizes[len(sizes)-want:])
		figures[name] = measured(s.P50)
		b.report.Memory[name] = map[string]any{"p50": measured(s.P50), "min": measured(s.Min), "max": measured(s.Max), "of": s.N}
	}
	return b.rss(b.loadedTsubo(), "daemon_rss_right_after_start_mb", figures)
}

// rest measures the daemon when the one-client rows are over: what the import of the image took
// when it started has been given back.
func (b *bench) rest(ctx context.Context, figures map[string]number) error {
	t := b.loadedTsubo()
	if err := t.settle(ctx); err != nil {
		return err
	}
	return b.rss(t, "daemon_rss_at_rest_mb", figures)
}

// sandboxSizes is the PSS of each sandbox of the daemon, in MB, sorted.
func sandboxSizes(t *tsubo) ([]float64, error) {
	boxes, err := t.daemon.Sandboxes()
	if err != nil {
		return nil, err
	}
	var sizes []float64
	for _, box := range boxes {
		sum := int64(0)
		for _, p := range box.Tree {
			n, err := procs.PSS(p.PID)
			if err != nil {
				continue // a stub process that has ended
			}
			sum += n
		}
		sizes = append(sizes, float64(sum)/mb)
	}
	slices.Sort(sizes)
	return sizes, nil
}

func (b *bench) rss(t *tsubo, name string, figures map[string]number) error {
	n, err := procs.RSS(t.daemon.PID())
	if err != nil {
		return err
	}
	figures[name] = measured(float64(n) / mb)
	b.report.Memory[name] = figures[name]
	return nil
}

// history runs so many jobs through the hot daemon, or the only one, and measures it afterwards.
func (b *bench) history(ctx context.Context, figures map[string]number, why map[string]string) error {
	const name = "daemon_rss_after_jobs_mb"
	if b.plan.History == 0 {
		why[name] = "not in QUICK"
		return nil
	}
	t := b.loadedTsubo()
	if err := many(ctx, b.plan.History, 4, func() error { _, err := t.load(ctx); return err }); err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	return b.rss(t, name, figures)
}

// queued measures what so many jobs that wait cost the daemon: more than it had before, once all
// were accepted.
func (b *bench) queued(ctx context.Context, figures map[string]number) error {
	const name = "daemon_rss_for_1000_queued_mb"
	t := b.tsubos[cold]
	if err := b.rss(t, "daemon_rss_before_queue_mb", figures); err != nil {
		return err
	}
	// One of these fills the budget, so that whatever comes behind it waits.
	filler := client.Request{Code: "import time; time.sleep(250)", JobType: "filler"}
	if err := many(ctx, b.plan.Queued+1, 16, func() error { _, err := t.client.Submit(ctx, filler); return err }); err != nil {
		return err
	}
	stats, err := t.client.PoolStats(ctx)
	if err != nil {
		return err
	}
	if stats.Pending < b.plan.Queued {
		return fmt.Errorf("%d jobs wait, want %d", stats.Pending, b.plan.Queued)
	}
	if err := b.rss(t, "daemon_rss_with_queue_mb", figures); err != nil {
		return err
	}
	figures[name] = measured((figures["daemon_rss_with_queue_mb"].value - figures["daemon_rss_before_queue_mb"].value) * 1000 / float64(b.plan.Queued))
	return nil
}

// loadedTsubo is the daemon that carries load: the hot one where there is a pool.
func (b *bench) loadedTsubo() *tsubo {
	if t := b.tsubos[hot]; t != nil {
		return t
	}
	return b.tsubos[cold]
}

// many calls do n times from several goroutines, and stops at the first error.
func many(ctx context.Context, n, width int, do func() error) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for range width {
		group.Go(func() {
			for {
				mu.Lock()
				done := n == 0 || first != nil || ctx.Err() != nil
				if !done {
					n--
				}
				mu.Unlock()
				if done {
					return
				}
				if err := do(); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return first
}
