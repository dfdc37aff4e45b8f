package sandbox

import (
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
)

// A job that has used up its memory is no oom to the kernel as long as it finds file pages in the leaf, the program's text above all: it
// takes them away, they are read again, and so on, for a minute and longer. Once in every thrashEvery a run is looked at for that.
const (
	thrashEvery = time.Second
	// thrashTimes is how often on end a job must be found thrashing.
	thrashTimes = 3
	// leastRoom is what must have been read again where next to nothing is left.
	leastRoom = 1 << 20
)

// thrash tells jobs that have used up their memory by what their leaves count.
type thrash struct {
	before limits.Stat
	times  int
}

// found takes the counts of one more thrashEvery, and the job's own memory limit in bytes. It is true when the job has held more than that
// limit, and since the look before has read again as much as its own memory leaves room for, thrashTimes on end.
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

// watchMemory ends the job as one without memory when it thrashes.
func (r *run) watchMemory() {
	if r.s.leaf == nil {
		return
	}
	t := &thrash{}
	var look func()
	look = func() {
		switch thrashes, err := r.look(t); {
		case err != nil:
			r.s.host.Log.Warn("look whether a job thrashes: it is not looked at any more", "sandbox", r.s.id, "error", err)
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
