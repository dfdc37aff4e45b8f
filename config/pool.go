package config

// Pool configures the pool of idle sandboxes.
type Pool struct {
	Enabled bool
	Min     int // minimum of hot sandboxes per job type, even without demand
	Max     int // maximum of hot sandboxes per job type
	WarmMax int // maximum of empty sentries, for any image, in total
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
