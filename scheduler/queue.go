package scheduler

import "slices"

// maxOvertaken is how many jobs may go before one that was at the head of the lines and did not
// fit; then everybody waits for it.
const maxOvertaken = 16

// queue holds one line per caller. The callers are served in turn, whatever the length of their
// lines. The zero value is empty.
type queue struct {
	lines []*line // in the order of the callers' turns; none is empty
	count int
	held  int // of count
}

type line struct {
	caller  string
	entries []*entry
}

// head is the index of the line's first entry that may run, -1 for none.
func (l *line) head() int { return slices.IndexFunc(l.entries, func(e *entry) bool { return !e.held }) }

func (q *queue) len() int { return q.count }

// ready counts the entries that may run.
func (q *queue) ready() int { return q.count - q.held }

func (q *queue) push(e *entry) {
	l := q.enter(e)
	l.entries = append(l.entries, e)
}

// pushFront puts e before all others of its caller.
func (q *queue) pushFront(e *entry) {
	l := q.enter(e)
	l.entries = slices.Insert(l.entries, 0, e)
}

// enter counts e and returns the line that it belongs in.
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

// release lets a held entry run when its turn comes.
func (q *queue) release(e *entry) {
	if e.held {
		e.held = false
		q.held--
	}
}

// next removes and returns the job whose turn it is among those that need at most room bytes, nil
// for none.
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
		if len(l.entries) > 0 { // its caller's next turn comes after everybody else's
			j := slices.Index(q.lines, l)
			q.lines = append(slices.Delete(q.lines, j, j+1), l)
		}
		return e
	}
	return nil
}

// take removes entry k of line i, and the line with its last entry.
func (q *queue) take(i, k int) {
	l := q.lines[i]
	e := l.entries[k]
	e.at = outside
	q.count--
	if e.held {
		q.held--
	}
	if k == 0 { // no copying of a long line
		l.entries[0], l.entries = nil, l.entries[1:]
	} else {
		l.entries = slices.Delete(l.entries, k, k+1)
	}
	if len(l.entries) == 0 {
		q.lines = slices.Delete(q.lines, i, i+1)
	}
}

// remove takes e out and reports whether it was in.
func (q *queue) remove(e *entry) bool {
	if e.at != queued {
		return false
	}
	i := slices.IndexFunc(q.lines, func(l *line) bool { return l.caller == e.caller })
	q.take(i, slices.Index(q.lines[i].entries, e))
	return true
}

// position is the place of a queued job in the order of turns, from 1, as if every job fitted.
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

// displace removes and returns the newest synchronous job of the longest line that has one, if that
// line is longer than the one of caller, who came last, so that equals never push each other out;
// nil when there is none. What the store has accepted stays.
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

// waiting is the length of a caller's line.
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
