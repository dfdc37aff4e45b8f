package frames

import (
	"io"
	"sync"
)

// flushAt is how many bytes a Writer gathers before it writes by itself.
const flushAt = MaxFrame

// Writer writes frames to a connection. It is safe for concurrent use, and the messages of a call
// stay together. After an error nothing more is written, and every call returns that error.
type Writer struct {
	mu   sync.Mutex
	dst  io.Writer
	keep int // larger buffers are dropped after each write
	buf  []byte
	err  error
}

// NewWriter returns a Writer for dst. Between writes the Writer keeps at most keep bytes of buffer.
// The daemon uses 0, because most of its sandboxes are idle.
func NewWriter(dst io.Writer, keep int) *Writer { return &Writer{dst: dst, keep: max(keep, minBuffer)} }

// Send encodes the messages and writes them together with all queued messages. A single write is
// used if they fit in MaxFrame bytes.
func (w *Writer) Send(ms ...Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range ms {
		w.queue(m)
	}
	return w.flush()
}

// Queue encodes the messages. They are written when the buffer is full or flushed.
func (w *Writer) Queue(ms ...Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range ms {
		w.queue(m)
	}
	return w.err
}

// QueueFile queues f with its content and sets f.Size.
func (w *Writer) QueueFile(f File, content []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.Size = int64(len(content))
	w.queue(f)
	w.pieces(content, func(p []byte) Message { return Data(p) })
	return w.err
}

// QueueStdin queues the standard input that a Run announced.
func (w *Writer) QueueStdin(content []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pieces(content, func(p []byte) Message { return Stdin(p) })
	return w.err
}

// Flush writes all queued messages.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.flush()
}

func (w *Writer) pieces(b []byte, as func([]byte) Message) {
	for len(b) > 0 && w.err == nil {
		n := min(len(b), MaxPayload)
		w.queue(as(b[:n]))
		b = b[n:]
	}
}

// queue appends a frame. A message that the decoder would refuse is an error here already.
func (w *Writer) queue(m Message) {
	if w.err != nil {
		return
	}
	start := len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0, byte(m.Type()))
	w.buf = m.appendTo(w.buf)
	payload := w.buf[start+HeaderSize:]
	if len(payload) > MaxPayload {
		w.err = &Error{Code: BadLength, Type: m.Type(), Length: int64(len(payload))}
	} else if _, err := decode(m.Type(), payload); err != nil {
		w.err = err
	}
	if w.err != nil {
		w.buf = w.buf[:start]
		return
	}
	put32(w.buf[start:start], uint32(1+len(payload)))
	if len(w.buf) >= flushAt {
		_ = w.flush() // kept in w.err
	}
}

func (w *Writer) flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	_, w.err = w.dst.Write(w.buf)
	if cap(w.buf) > w.keep {
		w.buf = nil
	} else {
		w.buf = w.buf[:0]
	}
	return w.err
}
