package config

// Pool configures what waits for jobs.
type Pool struct {
	Enabled bool
	Min     int // hot sandboxes that wait of each job type, also when no job comes
	Max     int // the most that wait of one job type
	WarmMax int // empty sentries that wait, for any image, in all
}

func defaultPool() Pool { return Pool{Enabled: true, Min: 1, Max: 8, WarmMax: 2} }

func (p *Pool) bind(r *reader) {
	r.boolean("pool_enabled", &p.Enabled)
	r.integer("pool_min", &p.Min, 0, 64)
	r.integer("pool_max", &p.Max, 0, 256)
	r.integer("warm_max", &p.WarmMax, 0, 64)
	switch {
	case p.Min <= p.Max:
	case r.written("pool_min"):
		r.fail("pool_min", "%d is more than pool_max (%d): lower this, or raise that", p.Min, p.Max)
	default:
		p.Min = p.Max
	}
}
