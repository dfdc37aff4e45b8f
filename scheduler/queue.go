package scheduler

import "slices"

// maxOvertaken limits how many later jobs may pass a job at the head of its line that does not fit.
// After that, all jobs wait until it fits.
const maxOvertaken = 16

// queue holds one line per caller. The callers take turns, regardless of the lengths of their
// lines. The zero value is an empty queue.
type queue struct {
	lines []*line // in the order of the callers' turns; no line is empty
	count int
	held  int // entries in count that may not run yet
}

type line struct {
	caller  string
	entries []*entry
}

// head returns the index of the first entry that may run, or -1 for none.
func (l *line) head() int { return slices.IndexFunc(l.entries, func(e *entry) bool { return !e.held }) }

func (q *queue) len() int { return q.count }

// ready returns the number of entries that may run.
func (q *queue) ready() int { return q.count - q.held }

func (q *queue) push(e *entry) {
	l := q.enter(e)
	l.entries = append(l.entries, e)
}

// pushFront puts e at the front of its caller's line.
func (q *queue) pushFront(e *entry) {
	l := q.enter(e)
	l.entries = slices.Insert(l.entries, 0, e)
}

// enter counts e and returns its caller's line.
func (q *queue) enter(e *entry) *line {
	e.at = queued
	q.count++
	if e.held {
		q.held++
	}
	l := q.line(e.caller)
	if l == nil {
		l = &line{caller: e.caller}
		q.lines = append(q.lines, l)
	}
	return l
}

// release makes a held entry eligible to run.
func (q *queue) release(e *entry) {
	if e.held {
		e.held = false
		q.held--
	}
}

// next removes and returns the next job, in turn order, that needs at most room bytes. It returns
// nil for none.
func (q *queue) next(room int64) *entry {
	for i, l := range q.lines {
		k := l.head()
		if k < 0 {
			continue
		}
		e := l.entries[k]
		if e.need > room {
			if e.overtaken >= maxOvertaken {
				return nil
			}
			continue
		}
		for _, passed := range q.lines[:i] {
			if p := passed.head(); p >= 0 {
				passed.entries[p].overtaken++
			}
		}
		q.take(i, k)
		if len(l.entries) > 0 { // the caller goes to the end of the round
			j := slices.Index(q.lines, l)
			q.lines = append(slices.Delete(q.lines, j, j+1), l)
		}
		return e
	}
	return nil
}

// take removes entry k of line i, and removes the line if that leaves it empty.
func (q *queue) take(i, k int) {
	l := q.lines[i]
	e := l.entries[k]
	e.at = outside
	q.count--
	if e.held {
		q.held--
	}
	if k == 0 { // do not copy a long line
		l.entries[0], l.entries = nil, l.entries[1:]
	} else {
		l.entries = slices.Delete(l.entries, k, k+1)
	}
	if len(l.entries) == 0 {
		q.lines = slices.Delete(q.lines, i, i+1)
	}
}

// remove removes e and reports whether it was queued.
func (q *queue) remove(e *entry) bool {
	if e.at != queued {
		return false
	}
	i := slices.IndexFunc(q.lines, func(l *line) bool { return l.caller == e.caller })
	q.take(i, slices.Index(q.lines[i].entries, e))
	return true
}

// position returns the 1-based position of a queued job in turn order, assuming that every job
// fits.
func (q *queue) position(e *entry) int {
	mine := slices.IndexFunc(q.lines, func(l *line) bool { return l.caller == e.caller })
	k := slices.Index(q.lines[mine].entries, e)
	n := k + 1
	for i, l := range q.lines {
		switch {
		case i < mine:
			n += min(len(l.entries), k+1)
		case i > mine:
			n += min(len(l.entries), k)
		}
	}
	return n
}

// displace removes and returns the newest synchronous job of the longest line that has such a job.
// It returns nil for none. The line must be longer than the line of caller, the newest arrival, so
// that callers with equal lines never displace each other. Jobs that the store has accepted stay.
func (q *queue) displace(caller string) *entry {
	most := q.waiting(caller)
	from, at := -1, -1
	for i, l := range q.lines {
		if len(l.entries) <= most {
			continue
		}
		for k := len(l.entries) - 1; k >= 0; k-- {
			if !l.entries[k].async {
				most, from, at = len(l.entries), i, k
				break
			}
		}
	}
	if from < 0 {
		return nil
	}
	e := q.lines[from].entries[at]
	q.take(from, at)
	return e
}

// waiting returns the length of a caller's line.
func (q *queue) waiting(caller string) int {
	if l := q.line(caller); l != nil {
		return len(l.entries)
	}
	return 0
}

func (q *queue) clear() []*entry {
	var all []*entry
	for _, l := range q.lines {
		all = append(all, l.entries...)
	}
	for _, e := range all {
		e.at = outside
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
