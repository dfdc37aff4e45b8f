package main

import (
	"context"
	"fmt"

	"github.com/tsubo-run/tsubo/client"
)

// sweepSamples is how many jobs stand behind each point of the sweep.
const sweepSamples = 50

// sweepOutput shows how a job's time grows with what it prints.
func (b *bench) sweepOutput(ctx context.Context) error {
	if len(b.plan.OutputSizes) == 0 {
		return nil
	}
	t := b.loadedTsubo()
	p50 := map[string]any{}
	for _, size := range b.plan.OutputSizes {
		var took []float64
		for range sweepSamples {
			s, answer, err := t.run(ctx, client.Request{Code: fmt.Sprintf("import sys; sys.stdout.write('x' * %d)", size)})
			if err != nil {
				return err
			}
			if len(answer.Stdout) != size {
				return fmt.Errorf("%d bytes of output came, want %d", len(answer.Stdout), size)
			}
			took = append(took, ms(s.took))
			if err := t.settle(ctx); err != nil {
				return err
			}
		}
		p50[fmt.Sprint(size)] = measured(spreadOf(took).P50)
	}
	b.report.Sweep["p50_ms_by_output_bytes"] = p50
	return nil
}

// sweepHistory is the time of a job with what is now in the store.
func (b *bench) sweepHistory(ctx context.Context, label string) error {
	if b.plan.History == 0 {
		return nil
	}
	t := b.loadedTsubo()
	var took []float64
	for range sweepSamples {
		s, err := t.once(ctx)
		if err != nil {
			return err
		}
		took = append(took, ms(s.took))
	}
	by, _ := b.report.Sweep["p50_ms_by_history"].(map[string]any)
	if by == nil {
		by = map[string]any{}
		b.report.Sweep["p50_ms_by_history"] = by
	}
	by[label] = measured(spreadOf(took).P50)
	return nil
}

// sweepClients shows the closed loops of the rows by their number of clients.
func (b *bench) sweepClients() {
	for _, r := range b.report.Rows {
		by := map[string]any{}
		for _, l := range r.loads {
			latency := spreadOf(l.took)
			point := map[string]any{
				"throughput_per_s": measured(l.perSecond()), "p50_ms": measured(latency.P50), "p99_ms": measured(latency.P99),
				"jobs": latency.N, "drawn_down": l.drawnDown,
			}
			if l.hasCPU {
				point["cpu_ms_per_job"] = measured(l.cpuPerJob())
			}
			served(point, l.tiers)
			by[fmt.Sprint(l.clients)] = point
		}
		if len(by) > 0 {
			b.report.Load["closed_loop_"+r.Name+"_by_clients"] = by
		}
	}
}

// served adds to a figure the tier of its jobs, if it was reported.
func served(point map[string]any, tiers map[string]int) {
	for tier, n := range tiers {
		if tier != "" {
			point["served_"+tier] = n
		}
	}
}
