package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// loaded is what came of many jobs at once.
type loaded struct {
	clients   int
	took      []float64 // ms, of each job
	window    time.Duration
	cpu       time.Duration
	hasCPU    bool
	tiers     map[string]int
	drawnDown int // sandboxes that the window took from what waited at its beginning
}

// and is one loop that went on after another, with something else in between.
func (l loaded) and(more loaded) loaded {
	sum := loaded{
		clients: l.clients, took: slices.Concat(l.took, more.took), window: l.window + more.window, cpu: l.cpu + more.cpu, hasCPU: l.hasCPU && more.hasCPU,
		tiers: maps.Clone(l.tiers), drawnDown: l.drawnDown + more.drawnDown,
	}
	for tier, n := range more.tiers {
		sum.tiers[tier] += n
	}
	return sum
}

// perSecond is the rate of jobs, without those that only used up what had been made before.
func (l loaded) perSecond() float64 { return float64(len(l.took)-l.drawnDown) / l.window.Seconds() }

func (l loaded) cpuPerJob() float64 { return ms(l.cpu) / float64(len(l.took)) }

// closedLoop keeps so many clients busy, each with one job after the other, and counts the jobs
// that end in the window that follows the ramp: by then whatever was made ahead has been used up,
// and what the window still takes from it is subtracted.
func closedLoop(ctx context.Context, s subject, clients int, ramp, window time.Duration) (loaded, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := loaded{clients: clients, tiers: map[string]int{}}
	var (
		mu    sync.Mutex
		open  bool
		group sync.WaitGroup
		stop  = make(chan struct{})
	)
	for range clients {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				one, err := s.load(ctx)
				if err != nil {
					cancel(fmt.Errorf("%s, %d clients: %w", s.name(), clients, err))
					return
				}
				mu.Lock()
				if open {
					l.took = append(l.took, ms(one.took))
					l.tiers[one.tier]++
				}
				mu.Unlock()
			}
		})
	}
	// edge is one end of the window.
	edge := func(opens bool) (at time.Time, waiting int, cpu time.Duration, err error) {
		waiting, err = s.waiting()
		cpu, l.hasCPU = s.cpu()
		mu.Lock()
		defer mu.Unlock()
		open = opens
		return time.Now(), waiting, cpu, err
	}
	pause(ctx, ramp)
	from, waitingFrom, cpuFrom, err := edge(true)
	pause(ctx, window)
	to, waitingTo, cpuTo, err2 := edge(false)
	close(stop)
	group.Wait()
	if err := errors.Join(err, err2, context.Cause(ctx)); err != nil {
		return l, err
	}
	if len(l.took) == 0 {
		return l, fmt.Errorf("%s, %d clients: no job ended within %v", s.name(), clients, window)
	}
	l.drawnDown, l.window, l.cpu = max(0, waitingFrom-waitingTo), to.Sub(from), cpuTo-cpuFrom
	return l, nil
}

// openLoop starts a job at each of the arrivals, whether or not earlier ones have ended, and takes
// latency from the intended arrival: a caller who comes while everything is busy has waited from
// then on, also if this program was late.
func openLoop(ctx context.Context, s subject, schedule []time.Duration) (latency spread, tiers map[string]int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]float64, len(schedule))
	tiers = map[string]int{}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
	)
	start := time.Now()
	for i, at := range schedule {
		intended := start.Add(at)
		pause(ctx, time.Until(intended))
		group.Go(func() {
			one, err := s.load(ctx)
			if err != nil {
				cancel(fmt.Errorf("%s, open loop: %w", s.name(), err))
				return
			}
			took[i] = ms(time.Since(intended))
			mu.Lock()
			tiers[one.tier]++
			mu.Unlock()
		})
	}
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return latency, tiers, err
	}
	return spreadOf(took), tiers, nil
}

// pause returns early when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
