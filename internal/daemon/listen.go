package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/images"
)

// maxConns limits the open connections of each listener. A single uid gets half of them, enough for
// 500 waiters and 200 streams at once. A waiting connection costs about 55 kB, including the
// client's end (TestManyWaitersAndStreams).
const maxConns = 2048

func (d *Daemon) serve(cfg *config.Config, catalogue *images.Catalogue) (err error) {
	d.server, err = api.New(api.Options{
		Version: Version,
		Runtime: runtimeName,
		Policy:  *d.rules.Load(),
		Jobs:    d.sched,
		Store:   d.store,
		Images:  apiImages{catalogue, d.keepWaiting},
		Keys:    apiKeys{d.keys},
		Facts: func() api.Facts {
			return api.Facts{Ready: d.ready.Load(), GVisor: true, Breaker: d.sched.Breaker(), Sandboxes: d.waiting()}
		},
		Spool: filepath.Join(cfg.DataDir, stateDir),
		Log:   d.log,
	})
	if err != nil {
		return err
	}
	type place struct {
		net.Listener
		name string
	}
	unix, err := api.Listen(api.ListenOptions{Path: cfg.Socket, Group: cfg.SocketGroup, MaxConns: maxConns})
	if err != nil {
		return err
	}
	places := []place{{unix, cfg.Socket}}
	if f := cfg.Access; f.TCP {
		tcp, err := api.ListenTCP(
			api.TCPOptions{Host: f.Host, Port: f.Port, CertFile: f.TLSCert, KeyFile: f.TLSKey, MaxConns: maxConns})
		if err != nil {
			return errors.Join(err, unix.Close())
		}
		places = append(places, place{tcp, tcp.Addr().String()})
	}
	d.http = d.server.HTTP()
	d.undo.push(d.stopHTTP)
	for _, p := range places {
		go func() {
			if err := d.http.Serve(p.Listener); !errors.Is(err, http.ErrServerClosed) &&
				!errors.Is(err, net.ErrClosed) {
				d.failed <- fmt.Errorf("serve %s: %w", p.name, err)
			}
		}()
		d.log.Info("listening", "address", p.name)
	}
	return nil
}

// httpBound limits how long responses may take to reach their callers after the jobs have stopped.
const httpBound = 5 * time.Second

func (d *Daemon) stopHTTP() error {
	ctx, cancel := context.WithTimeout(context.Background(), httpBound)
	defer cancel()
	if err := d.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("end the connections: %w", err), d.http.Close())
	}
	return nil
}
