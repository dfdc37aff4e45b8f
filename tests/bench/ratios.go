package main

// ratio is one figure beside its target. Met is null where the figure was not measured, and Why
// reports why not.
type ratio struct {
	Value  number  `json:"value"`
	Target float64 `json:"target"`
	AtMost bool    `json:"at_most"` // the target is a ceiling, else a floor
	Met    *bool   `json:"met"`
	Why    string  `json:"why_not_measured,omitempty"`
}

// target is a line of the table of figures to reach.
type target struct {
	name, what, unit string
	limit            float64
	floor            bool
}

func (t target) sign() string {
	if t.floor {
		return "≥"
	}
	return "≤"
}

var targets = []target{
	{name: "hot_p50_to_native_p50", what: "hot p50 / native p50", unit: " x", limit: 0.6},
	{name: "hot_p50_to_docker_p50", what: "hot p50 / docker with runsc p50", unit: " x", limit: 1.0 / 80},
	{name: "hot_p99_to_p50_at_half_saturation", what: "hot p99 / its p50 at half of saturation", unit: " x", limit: 3},
	{name: "warm_p50_to_runsc_erofs_p50", what: "warm p50 / bare runsc run (EROFS) p50", unit: " x", limit: 0.7},
	{name: "cold_p50_to_runsc_erofs_p50", what: "cold p50 / bare runsc run (EROFS) p50", unit: " x", limit: 1.15},
	{name: "throughput_to_runsc_erofs", what: "throughput / bare runsc run (EROFS), same clients", unit: " x", limit: 1, floor: true},
	{name: "throughput_to_docker", what: "throughput / docker with runsc", unit: " x", limit: 5, floor: true},
	{name: "burst_slowest_to_cold_p50", what: "slowest of a burst, less its wait / cold p50", unit: " x", limit: 1.5},
	{name: "hot_sandbox_pss_mb", what: "hot sandbox, PSS", unit: " MB", limit: 28},
	{name: "warm_sentry_pss_mb", what: "warm sentry, PSS", unit: " MB", limit: 22},
	{name: "daemon_rss_at_rest_mb", what: "daemon at rest, RSS", unit: " MB", limit: 40},
	{name: "daemon_rss_after_jobs_mb", what: "daemon after 10,000 jobs, RSS", unit: " MB", limit: 40},
	{name: "daemon_rss_for_1000_queued_mb", what: "daemon, 1,000 queued more", unit: " MB", limit: 5},
}

// judge makes ratios of the figures that were measured, by the names of targets; why reports what
// keeps the others from being there.
func judge(figures map[string]number, why map[string]string) map[string]ratio {
	all := make(map[string]ratio, len(targets))
	for _, t := range targets {
		r := ratio{Value: figures[t.name], Target: t.limit, AtMost: !t.floor}
		if r.Value.measured {
			met := r.Value.value <= t.limit
			if t.floor {
				met = r.Value.value >= t.limit
			}
			r.Met = &met
		} else if r.Why = why[t.name]; r.Why == "" {
			r.Why = "a figure that it is made of is missing"
		}
		all[t.name] = r
	}
	return all
}

// over is a / b, null when one of them is.
func over(a, b number) number {
	if !a.measured || !b.measured || b.value == 0 {
		return number{}
	}
	return measured(a.value / b.value)
}

// compare is the figures of targets that follow from the rows. A row that is invalid counts as not
// measured.
func (r *report) compare() map[string]number {
	p50 := func(name string) number {
		if one := r.row(name); one != nil && one.Valid {
			return one.P50
		}
		return number{}
	}
	figures := map[string]number{
		"hot_p50_to_native_p50":       over(p50("tsubo-hot"), p50("native")),
		"hot_p50_to_docker_p50":       over(p50("tsubo-hot"), p50("docker-runsc")),
		"warm_p50_to_runsc_erofs_p50": over(p50("tsubo-warm"), p50("runsc-erofs")),
		"cold_p50_to_runsc_erofs_p50": over(p50("tsubo-cold"), p50("runsc-erofs")),
	}
	best := r.row("tsubo-hot")
	if best == nil || !best.Throughput.measured {
		best = r.row("tsubo-cold")
	}
	if best == nil || !best.Throughput.measured {
		return figures
	}
	if erofs := r.row("runsc-erofs"); erofs != nil {
		if l, ok := erofs.at(best.Clients); ok {
			figures["throughput_to_runsc_erofs"] = over(best.Throughput, measured(l.perSecond()))
		}
	}
	if docker := r.row("docker-runsc"); docker != nil {
		figures["throughput_to_docker"] = over(best.Throughput, docker.Throughput)
	}
	return figures
}
