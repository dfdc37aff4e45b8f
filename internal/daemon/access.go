package daemon

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
)

// openAccess reads the API keys and refuses a TCP listener that would admit unwanted callers.
func (d *Daemon) openAccess(cfg *config.Config) (err error) {
	if d.keys, err = openKeys(cfg); err != nil {
		return err
	}
	d.flushKeys()
	warnings, err := cfg.CheckAccess(len(d.keys.List()) > 0)
	for _, w := range warnings {
		d.log.Warn("configuration", "warning", w)
	}
	return err
}

// flushEvery is the interval at which the last uses of API keys are written.
const flushEvery = time.Minute

// flushKeys writes the last uses of API keys every flushEvery and when the daemon ends.
func (d *Daemon) flushKeys() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := d.keys.Flush(); err != nil {
					d.log.Error("write the last uses of API keys", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	d.undo.push(func() error { stop(); <-done; return d.keys.Flush() })
}

func openKeys(cfg *config.Config) (*keys.File, error) {
	return keys.Open(keys.Path(cfg.DataDir))
}

// policy returns the part of the configuration that applies to requests.
func (d *Daemon) policy(cfg *config.Config) api.Policy {
	return api.Policy{
		Policy: job.Policy{
			Types:                 cfg.Types(),
			DefaultTimeout:        cfg.DefaultTimeout,
			DefaultStartupTimeout: cfg.DefaultStartupTimeout,
			MaxTimeout:            cfg.MaxTimeout,
			MaxStartupTimeout:     cfg.MaxStartupTimeout,
			MaxCodeBytes:          cfg.MaxCodeBytes,
			MaxInputBytes:         cfg.MaxInputBytes,
		},
		MaxPayloadBytes: cfg.MaxPayloadBytes,
		HeldBytes:       cfg.HeldBytes,
		MaxArchiveBytes: cfg.Images.MaxArchiveBytes,
		AdminUIDs:       cfg.AdminUIDs,
		AllowedUIDs:     cfg.AllowedUIDs,
		Auth:            d.auth(cfg),
		ProductionMode:  cfg.ProductionMode,
	}
}

// auth returns the part of the API's policy that applies to callers.
func (d *Daemon) auth(cfg *config.Config) api.Auth {
	f := &cfg.Access
	auth := api.Auth{
		RequireKey: f.RequireKey, Header: f.Header, LoopbackRole: f.LoopbackRole,
		Requests: f.RateRequests, UnixRequests: f.UnixRequests, WindowSeconds: int(f.RateWindow / time.Second),
		Find: func(sum [sha256.Size]byte) (api.FoundKey, bool) {
			key, ok := d.keys.Find(sum)
			return api.FoundKey{ID: key.ID, Admin: key.Admin, Expired: key.Expired(time.Now())}, ok
		},
	}
	if f.OpenNetwork && !f.RequireKey && !f.Loopback() {
		auth.LoopbackRole = api.OpenToAll
	}
	for _, k := range f.Keys {
		auth.Keys = append(auth.Keys, api.Key{SHA256: k.SHA256, Admin: k.Admin})
	}
	return auth
}
