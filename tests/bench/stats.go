package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// percentile is the nearest-rank one: the smallest value that at least p of all values do not
// exceed. It is NaN of nothing.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread is what is shown of many measurements of one thing, in the unit that they came in.
type spread struct {
	N                        int
	Min, P25, P50, P75       float64
	P90, P99, Max, Mean, Sum float64
}

// spreadOf leaves values as they are.
func spreadOf(values []float64) spread {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	s := spread{N: len(sorted)}
	for _, v := range sorted {
		s.Sum += v
	}
	s.Mean = s.Sum / float64(s.N)
	for p, to := range map[float64]*float64{0: &s.Min, 25: &s.P25, 50: &s.P50, 75: &s.P75, 90: &s.P90, 99: &s.P99, 100: &s.Max} {
		*to = percentile(sorted, p)
	}
	return s
}

// ms is a duration in milliseconds, with its fraction.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// arrivals are the moments, from the start, at which callers who do not know of each other come at
// rate per second during d: a Poisson process. One seed gives one schedule, so that two runs ask
// for the same.
func arrivals(rate float64, d time.Duration, seed uint64) []time.Duration {
	if rate <= 0 {
		return nil
	}
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a schedule is no secret
	var all []time.Duration
	for at := 0.0; ; {
		at += random.ExpFloat64() / rate
		if when := time.Duration(at * float64(time.Second)); when < d {
			all = append(all, when)
			continue
		}
		return all
	}
}
