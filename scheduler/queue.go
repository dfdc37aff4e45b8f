package scheduler

import (
	"context"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// entry is one job between Execute's call and its return.
type entry struct {
	spec   *job.Spec
	need   int64     // bytes of the budget
	turn   chan turn // holds one; written once, when the entry leaves the queue otherwise than by withdraw
	ctx    context.Context
	cancel context.CancelCauseFunc
	begun  time.Time // when its turn came

	overtaken int // how often a later job went first because this one did not fit
}

// turn is what becomes of a waiting job: the zero value lets it run.
type turn struct {
	refusal   *job.Refusal
	cancelled bool
}

// maxOvertaken is how many jobs may go before one that was at the head of the lines and did not fit; then everybody waits for it.
const maxOvertaken = 16

// queue holds one line per caller. The callers are served in turn, whatever the length of their lines. The zero value is empty.
type queue struct {
	lines []*line // in the order of the callers' turns; none is empty
	count int
}

type line struct {
	caller  string
	entries []*entry
}

func (q *queue) len() int { return q.count }

func (q *queue) push(e *entry) {
	q.count++
	if l := q.line(e.spec.Caller); l != nil {
		l.entries = append(l.entries, e)
		return
	}
	q.lines = append(q.lines, &line{caller: e.spec.Caller, entries: []*entry{e}})
}

// next removes and returns the job whose turn it is among those that need at most room bytes, nil for none.
func (q *queue) next(room int64) *entry {
	for i, l := range q.lines {
		e := l.entries[0]
		if e.need > room {
			if e.overtaken >= maxOvertaken {
				return nil
			}
			continue
		}
		for _, passed := range q.lines[:i] {
			passed.entries[0].overtaken++
		}
		q.count--
		l.entries[0], l.entries = nil, l.entries[1:]
		q.lines = slices.Delete(q.lines, i, i+1)
		if len(l.entries) > 0 {
			q.lines = append(q.lines, l)
		}
		return e
	}
	return nil
}

// remove takes e out and reports whether it was in.
func (q *queue) remove(e *entry) bool {
	l := q.line(e.spec.Caller)
	if l == nil {
		return false
	}
	i := slices.Index(l.entries, e)
	if i < 0 {
		return false
	}
	q.count--
	l.entries = slices.Delete(l.entries, i, i+1)
	if len(l.entries) == 0 {
		q.lines = slices.DeleteFunc(q.lines, func(x *line) bool { return x == l })
	}
	return true
}

// displace removes and returns the newest job of the longest line. Between lines of the same length it is that of newcomer, the job
// that came last, so that equals never push each other out.
func (q *queue) displace(newcomer *entry) *entry {
	longest := q.line(newcomer.spec.Caller)
	for _, l := range q.lines {
		// A newcomer makes its own line one longer than it was; another line must be longer even so.
		if longest == nil || len(l.entries) > len(longest.entries) {
			longest = l
		}
	}
	out := longest.entries[len(longest.entries)-1]
	q.remove(out)
	return out
}

func (q *queue) clear() []*entry {
	var all []*entry
	for _, l := range q.lines {
		all = append(all, l.entries...)
	}
	*q = queue{}
	return all
}

func (q *queue) line(caller string) *line {
	for _, l := range q.lines {
		if l.caller == caller {
			return l
		}
	}
	return nil
}
