// Package events is the live output of jobs: one hub per job that remembers what happened lately,
// for any number of readers, each at its own pace.
package events

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

const (
	// A hub remembers so much: bytes of text and number of events, whichever is less.
	hubBytes  = 256 << 10
	hubEvents = 4096
	// A reader takes so much at a time.
	batchBytes  = 64 << 10
	batchEvents = 64
	// textMost is the most text in one event.
	textMost = 16 << 10
)

// Hub is the event stream of one job: what happened lately, for any number of readers, each at its
// own pace. It has no goroutine. A hub is closed by End, with the job's record, or by Abandon,
// without: readers see a stream that ended without a result.
type Hub struct {
	mu      sync.Mutex
	events  []job.Event // the last ones; their IDs are consecutive
	last    uint64      // ID
	bytes   int         // of text in events
	begun   bool        // Started was called
	closed  bool
	changed chan struct{} // closed at the next change; nil while no reader waits
	out     textStream
	err     textStream
}

// textStream is what of stdout or stderr has not become an event.
type textStream struct {
	kind job.EventKind
	left int64  // bytes until the cap of the record
	cut  bool   // bytes came beyond the cap
	tail []byte // the beginning of a character, which waits for the rest of it, however long
}

// New makes the stream of a job whose outputs are kept up to these many bytes. Its first event is
// EventQueued.
func New(stdout, stderr int64) *Hub {
	h := &Hub{
		out: textStream{kind: job.EventStdout, left: stdout},
		err: textStream{kind: job.EventStderr, left: stderr},
	}
	h.publish(job.Event{Kind: job.EventQueued})
	return h
}

// Started implements job.Observer.
func (h *Hub) Started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = true
	h.publish(job.Event{Kind: job.EventStarted})
}

// Stdout implements job.Observer.
func (h *Hub) Stdout(p []byte) { h.text(&h.out, p) }

// Stderr implements job.Observer.
func (h *Hub) Stderr(p []byte) { h.text(&h.err, p) }

// Begun reports whether the job's code has begun.
func (h *Hub) Begun() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.begun
}

func (h *Hub) text(s *textStream, p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if most := max(s.left, 0); int64(len(p)) > most {
		p, s.cut = p[:most], true
	}
	s.left -= int64(len(p))
	if len(p) == 0 {
		return
	}
	data := p
	if len(s.tail) > 0 {
		data = append(s.tail, p...)
	}
	whole := job.CompletePrefix(data)
	h.publishText(s.kind, data[:whole])
	s.tail = append([]byte(nil), data[whole:]...)
}

// publishText publishes text in events of a bounded size. h.mu is held.
func (h *Hub) publishText(kind job.EventKind, data []byte) {
	for len(data) > 0 {
		part := data
		if len(part) > textMost {
			part = part[:textMost]
			part = part[:job.CompletePrefix(part)]
		}
		h.publish(job.Event{Kind: kind, Text: job.Decode(part)})
		data = data[len(part):]
	}
}

// flush publishes the beginning of a character whose rest never came, unless the cap cut it: the
// record does not have it then. h.mu is held.
func (h *Hub) flush(s *textStream) {
	if len(s.tail) > 0 && !s.cut {
		h.publish(job.Event{Kind: s.kind, Text: job.Decode(s.tail)})
	}
	s.tail = nil
}

// publish appends an event. h.mu is held (or h is not shared yet).
func (h *Hub) publish(e job.Event) {
	if h.closed {
		return
	}
	h.last++
	e.ID = h.last
	h.events = append(h.events, e)
	h.bytes += len(e.Text)
	for len(h.events) > 1 && (h.bytes > hubBytes || len(h.events) > hubEvents) {
		h.bytes -= len(h.events[0].Text)
		h.events[0], h.events = job.Event{}, h.events[1:]
	}
	h.notify()
}

func (h *Hub) notify() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// End publishes the last event and closes the stream.
func (h *Hub) End(rec *job.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flush(&h.out)
	h.flush(&h.err)
	h.publish(job.Event{Kind: job.EventResult, Record: rec})
	h.shut()
}

// Abandon closes the stream without a result.
func (h *Hub) Abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut()
}

// shut is the common end. h.mu is held.
func (h *Hub) shut() {
	h.closed = true
	h.notify()
}

// size is about what the hub holds in memory.
func (h *Hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.bytes + 64*len(h.events)
	if len(h.events) > 0 {
		if r := h.events[len(h.events)-1].Record; r != nil {
			n += len(r.Stdout) + len(r.Stderr) + len(r.Output)
		}
	}
	return n
}

// Read is the stream after the event with this ID, until its end, ctx's, or the reader's. An ID
// that was never given, as one of an earlier life of the daemon, means from the beginning. An
// EventGap reports what the hub no longer has.
func (h *Hub) Read(ctx context.Context, after uint64) iter.Seq[job.Event] {
	return func(yield func(job.Event) bool) {
		if after > h.newest() {
			after = 0
		}
		for {
			batch, wait := h.since(after)
			for _, e := range batch {
				if ctx.Err() != nil || !yield(e) {
					return
				}
				after = e.ID
			}
			switch {
			case len(batch) > 0:
			case wait == nil:
				return
			default:
				select {
				case <-wait:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

func (h *Hub) newest() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// since is some of the events after one ID; when there are none, the channel that is closed at the
// next change, nil when none will come.
func (h *Hub) since(after uint64) ([]job.Event, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.last + 1 - uint64(len(h.events))
	var batch []job.Event
	if after+1 < oldest {
		after = oldest - 1
		batch = append(batch, job.Event{ID: after, Kind: job.EventGap})
	}
	size := 0
	for _, e := range h.events[after+1-oldest:] {
		if len(batch) > 0 && (size+len(e.Text) > batchBytes || len(batch) >= batchEvents) {
			break
		}
		batch = append(batch, e)
		size += len(e.Text)
	}
	switch {
	case len(batch) > 0:
		return batch, nil
	case h.closed:
		return nil, nil
	case h.changed == nil:
		h.changed = make(chan struct{})
	}
	return nil, h.changed
}

// Bounds of Ended.
const (
	keptHubs     = 256
	keptHubBytes = 16 << 20
	keptHubFor   = time.Minute
)

// Ended holds the hubs of jobs that ended lately, for readers that lost their connection at the
// wrong moment. The owner's mutex guards it.
type Ended struct {
	byID  map[string]*Hub
	order []endedStream // oldest first
	bytes int
}

type endedStream struct {
	id   string
	size int
	at   time.Time
}

// Add keeps the hub of a job that has ended, and lets go of the oldest ones beyond the bounds.
func (m *Ended) Add(id string, h *Hub) {
	if m.byID == nil {
		m.byID = map[string]*Hub{}
	}
	size := h.size()
	m.byID[id] = h
	m.order = append(m.order, endedStream{id, size, time.Now()})
	m.bytes += size
	for len(m.order) > 0 && (len(m.order) > keptHubs || m.bytes > keptHubBytes || time.Since(m.order[0].at) > keptHubFor) {
		delete(m.byID, m.order[0].id)
		m.bytes -= m.order[0].size
		m.order[0], m.order = endedStream{}, m.order[1:]
	}
}

// Get is the hub of a job that ended lately, or nil.
func (m *Ended) Get(id string) *Hub { return m.byID[id] }
