// Package events streams the live output of jobs. Each job has one hub, which buffers recent events
// for any number of readers.
package events

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

const (
	// A hub buffers at most this many bytes of text and this many events.
	hubBytes  = 256 << 10
	hubEvents = 4096
	// A reader receives at most this many bytes and events per batch.
	batchBytes  = 64 << 10
	batchEvents = 64
	// textMost limits the text of an event, in bytes.
	textMost = 16 << 10
)

// Hub is the event stream of a job. It buffers recent events for any number of readers, each at its
// own pace, and has no goroutine. End closes a hub with the job's record. Abandon closes it without
// a result.
type Hub struct {
	mu      sync.Mutex
	events  []job.Event // the newest events, with consecutive IDs
	last    uint64      // ID of the newest event
	bytes   int         // of text in events
	begun   bool        // Started was called
	closed  bool
	changed chan struct{} // closed at the next change; nil while no reader waits
	out     textStream
	err     textStream
}

// textStream is the unpublished part of stdout or stderr.
type textStream struct {
	kind job.EventKind
	left int64  // bytes until the record's cap
	cut  bool   // output exceeded the cap
	tail []byte // an incomplete character, kept until its remaining bytes arrive
}

// New returns the stream of a job whose outputs are kept up to stdout and stderr bytes. Its first
// event is EventQueued.
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

// publishText publishes data in events of at most textMost bytes. h.mu must be held.
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

// flush publishes an incomplete character at the end of the output. If the cap cut the output, the
// character is dropped, as in the record. h.mu must be held.
func (h *Hub) flush(s *textStream) {
	if len(s.tail) > 0 && !s.cut {
		h.publish(job.Event{Kind: s.kind, Text: job.Decode(s.tail)})
	}
	s.tail = nil
}

// publish appends an event. h.mu must be held, unless h is not shared yet.
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

// End publishes the final event, with rec, and closes the stream.
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

// shut closes the stream. h.mu must be held.
func (h *Hub) shut() {
	h.closed = true
	h.notify()
}

// size returns the approximate number of bytes that the hub holds in memory.
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

// Read returns the stream after the event with this ID. The stream ends with the hub, with ctx, or
// when the reader stops. An unknown ID, such as an ID from an earlier daemon, means from the
// beginning. EventGap reports events that the hub no longer has.
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

// since returns a batch of events after an ID. If there are none, it returns a channel that is
// closed at the next change, or nil if the hub is closed.
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

// Limits of [Ended].
const (
	keptHubs     = 256
	keptHubBytes = 16 << 20
	keptHubFor   = time.Minute
)

// Ended keeps the hubs of recently ended jobs for readers that lost their connection just before
// the end. The owner's mutex must guard it.
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

// Add keeps the hub of an ended job and drops the oldest hubs beyond the limits.
func (m *Ended) Add(id string, h *Hub) {
	if m.byID == nil {
		m.byID = map[string]*Hub{}
	}
	size := h.size()
	m.byID[id] = h
	m.order = append(m.order, endedStream{id, size, time.Now()})
	m.bytes += size
	for len(m.order) > 0 && (len(m.order) > keptHubs || m.bytes > keptHubBytes ||
		time.Since(m.order[0].at) > keptHubFor) {
		delete(m.byID, m.order[0].id)
		m.bytes -= m.order[0].size
		m.order[0], m.order = endedStream{}, m.order[1:]
	}
}

// Get returns the hub of a recently ended job, or nil.
func (m *Ended) Get(id string) *Hub { return m.byID[id] }
