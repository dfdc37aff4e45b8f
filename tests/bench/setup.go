package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

// common is the configuration that the daemons share: one job type, of which everything that a load
// needs fits the budget, and output as large as the sweep wants it.
const common = `max_queue_size: 2000
memory_budget: 2g
max_stdout_bytes: 2097152
job_types:
  - name: default
    memory_limit: 128m
    timeout: 120
`

// filler is a job type that fills the budget alone, for a queue. Only the daemon without a pool has
// it: it would have sandboxes waiting.
const filler = `  - name: filler
    memory_limit: 1500m
    timeout: 300
`

// pools is what each tier's daemon is configured with besides: so that nothing else can serve a
// job.
var pools = map[string]string{
	cold: "pool_enabled: false\n",
	warm: "pool_min: 0\npool_max: 0\nwarm_max: 2\n",
	hot:  fmt.Sprintf("pool_min: %d\npool_max: %d\n", hotWaiting, hotWaiting),
}

// bench is one run.
type bench struct {
	plan   plan
	opt    tsubod.Options
	dir    string
	only   []string // the rows that are measured; nil: all
	strict bool
	tell   func(string)

	started time.Time

	native *native
	bares  []*bare
	docker *docker
	tsubos map[string]*tsubo
	absent map[string]string // rows that cannot be measured here, and why
	undo   []func() error
	report report
}

func (b *bench) close() error {
	var errs []error
	for i := len(b.undo) - 1; i >= 0; i-- {
		errs = append(errs, b.undo[i]())
	}
	return errors.Join(errs...)
}

// setUp starts what is measured.
func (b *bench) setUp(ctx context.Context) error {
	b.native, b.tsubos, b.absent = &native{}, map[string]*tsubo{}, map[string]string{}
	for _, tier := range []string{cold, warm, hot} {
		if err := b.startTier(ctx, tier); err != nil {
			return err
		}
	}
	b.tell("daemons serve")
	written, err := b.tsubos[cold].capture(ctx)
	if err != nil {
		return err
	}
	if err := b.setUpBare(ctx, written); err != nil {
		return err
	}
	b.docker = b.setUpDocker(ctx)
	return nil
}

// firstBound is how long the first sandbox of a tier may take until it waits.
const firstBound = 15 * time.Second

// startTier starts the daemon of a tier, or notes why there is none.
func (b *bench) startTier(ctx context.Context, tier string) error {
	o := b.opt
	o.Name, o.Config = tier, pools[tier]+common
	if tier == cold {
		o.Config += filler
	}
	d, err := tsubod.Start(ctx, o)
	if err != nil {
		return fmt.Errorf("tsubod for tsubo-%s: %w", tier, err)
	}
	b.undo = append(b.undo, d.Stop)
	c := client.New(d.Socket)
	b.undo = append(b.undo, func() error { c.Close(); return nil })
	t := &tsubo{tier: tier, daemon: d, client: c, strict: b.strict}
	if waits, err := t.ready(ctx, 1, firstBound); err != nil || !waits {
		b.absent["tsubo-"+tier] = "nothing waits in its daemon"
		return err
	}
	b.tsubos[tier] = t
	return nil
}

// setUpBare makes the two rows of bare runs from what tsubod wrote.
func (b *bench) setUpBare(ctx context.Context, written []byte) error {
	root, err := b.directoryRoot(ctx)
	if err != nil {
		return err
	}
	state := filepath.Join(b.dir, "state")
	bundles := filepath.Join(b.dir, "bundles")
	for _, dir := range []string{state, bundles} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	stock := netns.NewStock(4)
	b.undo = append(b.undo, stock.Close)
	for label, dir := range map[string]string{"runsc-dir": root, "runsc-erofs": ""} {
		spec, err := bareSpec(written, dir)
		if err != nil {
			return err
		}
		var is struct{ Annotations map[string]string }
		if err := json.Unmarshal(spec, &is); err != nil {
			return err
		}
		if dir == "" && is.Annotations["dev.gvisor.spec.rootfs.type"] != "erofs" {
			b.absent[label] = "tsubod's own roots are directories here: install erofs-utils"
			continue
		}
		b.bares = append(b.bares, &bare{label: label, runsc: b.opt.Runsc, root: state, spec: spec, dir: bundles, stock: stock})
	}
	return nil
}

// directoryRoot unpacks the image as tsubod does where it has no mkfs.erofs.
func (b *bench) directoryRoot(ctx context.Context) (string, error) {
	quiet := slog.New(slog.DiscardHandler)
	store, err := rootfs.Open(filepath.Join(b.dir, "roots"), rootfs.Options{MkfsErofs: "/nonexistent", Logger: quiet})
	if err != nil {
		return "", err
	}
	b.undo = append(b.undo, store.Close)
	catalogue, err := images.Open(filepath.Join(b.dir, "images"), store, images.Options{Logger: quiet})
	if err != nil {
		return "", err
	}
	image, err := catalogue.ImportLayout(ctx, "python", b.opt.Images)
	if err != nil {
		return "", err
	}
	use, err := catalogue.Use(image.Digest)
	if err != nil {
		return "", err
	}
	b.undo = append(b.undo, func() error { use.Release(); return nil })
	return use.Root.Path, nil
}

// subjects are all that are measured here, in the order of the rows.
func (b *bench) subjects() []subject {
	all := []subject{b.native}
	for _, label := range []string{"runsc-dir", "runsc-erofs"} {
		for _, one := range b.bares {
			if one.label == label {
				all = append(all, one)
			}
		}
	}
	if b.docker != nil {
		all = append(all, b.docker)
	}
	for _, tier := range []string{cold, warm, hot} {
		if t := b.tsubos[tier]; t != nil {
			all = append(all, t)
		}
	}
	return slices.DeleteFunc(all, func(s subject) bool { return b.only != nil && !slices.Contains(b.only, s.name()) })
}
