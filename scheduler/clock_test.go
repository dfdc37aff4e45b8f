package scheduler

import (
	"testing"
	"time"
	"unsafe"

	"github.com/tsubo-run/tsubo/job"
)

// duration_ms uses the monotonic clock: the wall clock jumps by two days during the run.
func TestDurationIgnoresTheWallClock(t *testing.T) {
	s := &Scheduler{}
	started := time.Now()
	ended := jump(started.Add(1500*time.Millisecond), 48*time.Hour)
	e := &entry{record: &job.Record{}, first: started}
	for name, r := range map[string]*job.Result{
		"started": {StartedAt: started, EndedAt: ended},
		"not":     {EndedAt: ended},
	} {
		rec := s.complete(e, r)
		if rec.DurationMS == nil || *rec.DurationMS != 1500 {
			t.Errorf("%s: duration_ms %v, want 1500", name, *rec.DurationMS)
		}
		if got := rec.EndedAt.Sub(started.UTC()); got != 48*time.Hour+1500*time.Millisecond {
			t.Errorf("%s: ended_at is %s after the start, want the wall clock's", name, got)
		}
	}
}

// jump moves the wall clock part of t and keeps the monotonic part. Package time stores the seconds
// above 30 bits of nanoseconds.
func jump(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
}
