package main

import "time"

// plan is how much is measured.
type plan struct {
	Quick         bool
	Samples       int // of each one-client row
	DockerSamples int
	Warmup        int // of each row, before anything counts
	Window, Ramp  time.Duration
	Slices        int           // that a window is cut into, so that the rows take turns
	Clients       []int         // closed loops; the best one counts
	Enough        time.Duration // of the whole run; what is then left of Clients is left out; 0: never
	OpenLoop      time.Duration
	Burst         int
	Queued        int
	History       int // jobs behind the figure of the daemon's memory after many
	OutputSizes   []int
	Phases        int // samples that tell where the time of a bare run goes
}

// hotWaiting is the size of the pool that the burst meets.
const hotWaiting = 8

func planFor(quick bool) plan {
	p := plan{
		Quick: quick, Samples: 300, DockerSamples: 50, Warmup: 5, Window: time.Minute, Ramp: 5 * time.Second, Slices: 3, Clients: []int{1, 2, 4, 8, 16},
		OpenLoop: 2 * time.Minute, Burst: 50, Queued: 1000, History: 10_000, OutputSizes: []int{0, 1 << 10, 16 << 10, 256 << 10, 1 << 20}, Phases: 40,
	}
	if quick {
		p.Samples, p.DockerSamples, p.Warmup = 60, 15, 2
		p.Window, p.Ramp, p.Slices, p.Clients, p.OpenLoop = 15*time.Second, 2*time.Second, 2, []int{4, 2}, 15*time.Second
		p.Enough = 125 * time.Second
		p.History, p.OutputSizes, p.Phases = 0, nil, 10
	}
	return p
}
