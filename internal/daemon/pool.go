package daemon

import (
	"context"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/pool"
	"github.com/tsubo-run/tsubo/sandbox"
)

// openPool starts the pool of idle sandboxes. It does not block; until the pool fills, jobs boot
// their own sandboxes.
func (d *Daemon) openPool(cfg *config.Config, host *sandbox.Host, warm bool) (err error) {
	o := pool.Options{Host: pool.Of(host), Check: host.Runsc.Check, Log: d.log}
	if cfg.Pool.Enabled {
		o.Min, o.Max = cfg.Pool.Min, cfg.Pool.Max
	}
	if warm {
		o.WarmMax = cfg.Pool.WarmMax
	}
	if d.pool, err = pool.New(o); err != nil {
		return err
	}
	d.undo.push(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), poolBound)
		defer cancel()
		return d.pool.Close(ctx)
	})
	return nil
}

// poolBound limits the time for discarding idle sandboxes when the daemon stops.
const poolBound = 30 * time.Second

// keepWaiting updates the pool's wanted shapes: the default job of every job type whose image
// exists. It is called whenever job types or images change.
func (d *Daemon) keepWaiting() {
	if !d.cfg.Pool.Enabled {
		return
	}
	d.keeping.Lock() // so that the newest rules win
	defer d.keeping.Unlock()
	rules := d.rules.Load()
	var wanted []pool.Wanted
	for name := range rules.Types {
		spec, err := rules.Spec(&job.Request{JobType: name, Code: "0"}, "none", "none")
		if err != nil || spec.Refused() != nil {
			continue // such jobs are refused on submission
		}
		use, err := d.images.Use(spec.Image)
		if err != nil {
			continue // jobs of this type report the error
		}
		digest := use.Image.Digest
		wanted = append(wanted, pool.Wanted{
			Name:  "job type " + name + ", image " + spec.Image,
			Shape: shapeOf(use, spec, rules.Types[name].Environment),
			Lease: func() (func(), error) { return leased(d.images.Use(digest)) },
		})
		use.Release()
	}
	d.pool.Keep(wanted)
}

func leased(use *images.Use, err error) (func(), error) {
	if err != nil {
		return nil, err
	}
	return use.Release, nil
}

// waiting returns the pool's state for GET /pool/sandboxes.
func (d *Daemon) waiting() job.SandboxStats {
	s := d.pool.Stats()
	return job.SandboxStats{
		HotWaiting: s.HotWaiting, WarmWaiting: s.WarmWaiting, Booting: s.Booting, WaitingBytes: s.Bytes, Hot: s.Hot,
		Warm: s.Warm, Cold: s.Cold,
	}
}
