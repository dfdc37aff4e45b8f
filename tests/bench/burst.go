package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// burst sends so many jobs at once to a pool of hotWaiting, and takes from each one's time what its
// record reports that it waited in the queue. The slowest of what is left is held against a cold
// job.
func (b *bench) burst(ctx context.Context, coldP50 number, figures map[string]number, why map[string]string) error {
	const name = "burst_slowest_to_cold_p50"
	t := b.tsubos[hot]
	if t == nil {
		why[name] = b.absent["tsubo-hot"]
		return nil
	}
	if err := t.full(ctx); err != nil {
		return err
	}
	p, err := t.pool(ctx)
	if err != nil {
		return err
	}
	samples, answers, err := t.atOnce(ctx, b.plan.Burst)
	if err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	var whole, own []float64
	tiers := map[string]int{}
	for i, s := range samples {
		record, err := t.recordOf(ctx, answers[i])
		if err != nil {
			return fmt.Errorf("burst: %w", err)
		}
		whole, own = append(whole, ms(s.took)), append(own, ms(s.took-waited(record)))
		tiers[s.tier]++
	}
	slowest := spreadOf(own)
	figures[name] = over(measured(slowest.Max), coldP50)
	all := spreadOf(whole)
	b.report.Burst = map[string]any{
		"jobs": b.plan.Burst, "waiting_before": p.HotWaiting,
		"ms_without_queue_p50": measured(slowest.P50), "ms_without_queue_max": measured(slowest.Max),
		"ms_p50": measured(all.P50), "ms_max": measured(all.Max), "cold_p50_ms": coldP50,
	}
	served(b.report.Burst, tiers)
	return nil
}

// fullBound is how long a pool may take to fill up again after a load.
const fullBound = 20 * time.Second

// full returns once the pool is as full as it gets, and the machine is at rest.
func (t *tsubo) full(ctx context.Context) error {
	_, err := t.ready(ctx, hotWaiting, fullBound)
	return err
}

// atOnce sends n jobs in the same moment.
func (t *tsubo) atOnce(ctx context.Context, n int) ([]sample, []*job.ExecuteAnswer, error) {
	samples, answers, errs := make([]sample, n), make([]*job.ExecuteAnswer, n), make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { samples[i], answers[i], errs[i] = t.run(ctx, request) })
	}
	group.Wait()
	return samples, answers, errors.Join(errs...)
}

// recordOf waits for the record, which of a synchronous job follows its answer.
func (t *tsubo) recordOf(ctx context.Context, answer *job.ExecuteAnswer) (*job.FullAnswer, error) {
	if answer.ExecutionID == nil {
		return nil, errors.New("an answer without an id")
	}
	var err error
	for range 100 {
		var record *job.FullAnswer
		if record, err = t.client.Record(ctx, *answer.ExecutionID); err == nil {
			return record, nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	return nil, err
}

// waited is the time that a job was in the queue: from its creation to its turn.
func waited(r *job.FullAnswer) time.Duration {
	if r.CreatedAt == nil || r.StartedAt == nil {
		return 0
	}
	return max(0, time.Time(*r.StartedAt).Sub(time.Time(*r.CreatedAt)))
}
