package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Of a load: who submits at the same time, who looks at what has come of it, how many ends are
// waited for, and how long after it began.
const (
	submitters = 8
	watchers   = 2
	enoughEnds = 3
	loadBound  = 15 * time.Second
)

// load is what the callers of one load share.
type load struct {
	d *tsubod
	l *ledger

	mu   sync.Mutex
	open []string        // accepted, not seen ended
	seen map[string]bool // seen running
	ends int
}

// loadTsubod submits o.load jobs, cancels some, and watches others end. It is over when all are
// submitted and some have ended. A daemon that is killed in between ends it, too.
func loadTsubod(ctx context.Context, d *tsubod, o startOptions, l *ledger) error {
	ctx, cancel := context.WithTimeout(ctx, loadBound)
	defer cancel()
	x := &load{d: d, l: l, seen: map[string]bool{}}
	numbers, errs := make(chan int), make(chan error, submitters+watchers)
	var submitting, watching sync.WaitGroup
	for range submitters {
		submitting.Go(func() {
			for i := range numbers {
				if err := x.submit(submission{o.seed, i}); err != nil {
					errs <- err
					for range numbers { // the others' way out
					}
				}
			}
		})
	}
	stop := make(chan struct{})
	for w := range watchers {
		rnd := dice(o.seed, uint64(1000+w))
		watching.Go(func() {
			if err := x.watch(ctx, rnd, stop); err != nil {
				errs <- err
			}
		})
	}
	for i := range o.load {
		numbers <- i
	}
	close(numbers)
	submitting.Wait()
	close(stop)
	watching.Wait()
	close(errs)
	for err := range errs {
		if err != nil && !d.killed.Load() {
			return err
		}
	}
	return nil
}

func (x *load) submit(s submission) error {
	x.l.say(sayTry, tryAccept, s.key())
	id, err := x.d.submit(s)
	if err != nil {
		return err
	}
	x.l.say(sayAccepted, s.key(), id, s.kind())
	if s.i%10 == 3 {
		return x.cancel(id)
	}
	x.mu.Lock()
	x.open = append(x.open, id)
	x.mu.Unlock()
	return nil
}

// cancel cancels a job. One that was waiting has ended by then; one that was running will have
// soon.
func (x *load) cancel(id string) error {
	x.l.say(sayTry, tryFinish, id)
	status, answer, err := x.d.do(http.MethodPost, "/jobs/"+id+"/cancel", nil)
	if err == nil && status == http.StatusNotFound {
		return nil // it has ended before
	}
	if _, err := want(status, answer, err); err != nil {
		return fmt.Errorf("cancel %s: %w", id, err)
	}
	r, err := x.d.record(id)
	if err != nil {
		return err
	}
	if r.Status.Terminal() {
		x.l.say(sayEnded, id, r.digest)
	}
	return nil
}

// watch looks at the oldest of the open jobs, which run first, until stop is closed and enough have
// ended.
func (x *load) watch(ctx context.Context, rnd *rand.Rand, stop <-chan struct{}) error {
	for ; ; time.Sleep(10 * time.Millisecond) {
		x.mu.Lock()
		enough, id := x.ends >= enoughEnds, ""
		if n := min(len(x.open), 6); n > 0 {
			id = x.open[rnd.IntN(n)]
		}
		x.mu.Unlock()
		select {
		case <-stop:
			if enough || id == "" || ctx.Err() != nil {
				return nil
			}
		default:
		}
		if id == "" {
			continue
		}
		r, err := x.d.record(id)
		if err != nil {
			return err
		}
		x.note(id, r)
	}
}

func (x *load) note(id string, r *record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case r.Status.Terminal():
		for i, o := range x.open {
			if o == id {
				x.open = append(x.open[:i:i], x.open[i+1:]...)
				x.ends++
				x.l.say(sayEnded, id, r.digest)
				return
			}
		}
	case r.Status == job.Running && !x.seen[id]:
		x.seen[id] = true
		x.l.say(sayBegun, id)
	}
}
