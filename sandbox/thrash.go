package sandbox

import (
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
)

// The kernel does not OOM-kill a cgroup while it can reclaim page cache, above all the text of
// programs. A job at its limit can thrash on its own text for minutes. Every thrashEvery the run is
// checked for that.
const (
	thrashEvery = time.Second
	// thrashTimes is how many checks in a row must find a job thrashing.
	thrashTimes = 3
	// leastRoom is the least refault volume, in bytes, for a job that has almost no room left.
	leastRoom = 1 << 20
)

// thrash detects a job that has used up its memory, by the counters of its leaf.
type thrash struct {
	before limits.Stat
	times  int
}

// found adds the counters of another check. memory is the job's limit in bytes. A check is positive
// if the job holds more than its limit and, since the previous check, has read back as much page
// cache as its own memory leaves room for. found reports true after thrashTimes positive checks in
// a row.
func (t *thrash) found(now limits.Stat, memory int64) bool {
	room := max(memory+limits.Allowance-now.Own, leastRoom)
	if now.Own > memory && now.Reread-t.before.Reread >= room {
		t.times++
	} else {
		t.times = 0
	}
	t.before = now
	return t.times >= thrashTimes
}

// watchMemory ends the job as out of memory when it thrashes.
func (r *run) watchMemory() {
	if r.s.leaf == nil {
		return
	}
	t := &thrash{}
	var look func()
	look = func() {
		switch thrashes, err := r.look(t); {
		case err != nil:
			r.s.host.Log.Warn("check a job for thrashing; no further checks", "sandbox", r.s.id, "error", err)
		case thrashes:
			r.end(job.OutOfMemory)
		default:
			r.timers.after(thrashEvery, look)
		}
	}
	r.timers.after(thrashEvery, look)
}

func (r *run) look(t *thrash) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false, nil
	}
	now, err := r.s.leaf.Stat()
	return err == nil && t.found(now, r.spec.Limits.Memory), err
}
