package main

import (
	"context"
	"fmt"
	"time"
)

// subject is one of those that are compared: it does the same small job again and again.
type subject interface {
	name() string
	// once does one job. The clock of the sample is the subject's own; once returns only when the
	// next job may start on a machine at rest.
	once(ctx context.Context) (sample, error)
	// load does one job of many at once, and does not wait for what it leaves behind.
	load(ctx context.Context) (sample, error)
	// waiting is how many sandboxes have been made ahead and not yet used, or are being cleared
	// away: what a window may draw down.
	waiting() (int, error)
	// cpu is what the subject has used so far, of all its processes; false where that cannot be
	// told.
	cpu() (time.Duration, bool)
}

// sample is one job.
type sample struct {
	took time.Duration
	cpu  time.Duration // of everything that the job caused, negative where that cannot be told
	leaf time.Duration // of the job, from its leaf; negative without
	// inside is the daemon's own figure, in whole milliseconds: from the job's turn to the end of
	// its result. 0 without.
	inside time.Duration
	tier   string // what served it, as the daemon says; "" where it says nothing
}

// collected is what came of one subject's one-client row.
type collected struct {
	subject subject
	want    int
	samples []sample
}

// interleave gives each subject its samples, one at a time, in turn and beginning with another one
// in each round, so that all see the same machine. What comes of the first warmup rounds is thrown
// away.
func interleave(ctx context.Context, all []*collected, warmup int, tell func(string)) error {
	for round := -warmup; ; round++ {
		more := false
		for i := range all {
			c := all[(i+round+warmup)%len(all)]
			if len(c.samples) >= c.want {
				continue
			}
			more = true
			s, err := c.subject.once(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.subject.name(), err)
			}
			if round >= 0 {
				c.samples = append(c.samples, s)
			}
		}
		if !more {
			return nil
		}
		if round > 0 && round%20 == 0 {
			tell(fmt.Sprintf("round %d", round))
		}
	}
}
