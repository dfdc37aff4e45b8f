package frames

import "io"

// minBuffer is the size of an idle Reader's buffer, which each waiting sandbox costs the daemon.
const minBuffer = 4 << 10

// Reader reads frames from a connection. It is not safe for concurrent use. It holds at most
// MaxFrame bytes, whatever arrives. A frame that breaks the rules yields an [*Error], and so do all
// later calls.
type Reader struct {
	src    io.Reader
	from   Side
	budget int64
	buf    []byte
	r, w   int // buf[r:w] is not yet consumed
	err    error
}

// NewReader returns a Reader for frames from the side from. It reads at most budget bytes in total,
// headers included.
func NewReader(src io.Reader, from Side, budget int64) *Reader {
	return &Reader{src: src, from: from, budget: budget}
}

// AddBudget adds n bytes to the budget. The daemon starts with BootBudget, and adds Caps.Budget at
// hand-over.
func (r *Reader) AddBudget(n int64) { r.budget += n }

// Pending returns how many bytes are read but not yet consumed as messages.
func (r *Reader) Pending() int { return r.w - r.r }

// BootBudget is how many bytes init may send before hand-over: Ready and Fatal.
const BootBudget = 2*HeaderSize + 6 + 9 + MaxText

// Budget returns the most that an honest init sends after hand-over under these caps: output
// written byte by byte, artifact names of the largest length, and each entry either skipped or
// collected.
func (c Caps) Budget() int64 {
	const name = 4 + MaxName
	output := (HeaderSize + 1) * (sat(c.Stdout+OutputSlack) + sat(c.Stderr+OutputSlack))
	entry := int64(HeaderSize+name+8) + HeaderSize + 1 // Artifact and ArtifactEnd; longer than Skip
	// Content arrives in pieces of ContentSize; the last piece of a file is shorter.
	content := sat(c.ArtifactsTotal) + HeaderSize*(sat(c.ArtifactsTotal)/ContentSize+sat(c.Artifacts)+1)
	// Started, Exit, Done and Fatal.
	const fixed = HeaderSize + 2*HeaderSize + 2 + HeaderSize + 25 + MaxText + MaxTail + HeaderSize + 9 + MaxText
	return output + (sat(c.Artifacts)+1)*entry + content + fixed
}

// ContentSize is the size of an artifact's pieces in bytes.
const ContentSize = 128 << 10

// sat clips n so that sums of caps cannot overflow. No sandbox sends a pebibyte.
func sat(n int64) int64 { return max(0, min(n, 1<<50)) }

// Next returns the next message and reads as often as needed. io.EOF means an end between two
// frames.
func (r *Reader) Next() (Message, error) {
	for {
		m, err := r.Buffered()
		if m != nil || err != nil {
			return m, err
		}
		if err := r.Fill(); err != nil {
			return nil, err
		}
	}
}

// Buffered returns the next completely read message, or nil. It does not read.
func (r *Reader) Buffered() (Message, error) {
	if r.err != nil || r.w-r.r < HeaderSize {
		return nil, r.err
	}
	head := r.buf[r.r:r.w]
	n, t := int64(get32(head)), Type(head[4])
	code := Code(0)
	switch {
	case n == 0 || n > 1+MaxPayload:
		code = BadLength
	case !t.known():
		code = BadType
	case t.sender() != r.from:
		code = BadDirection
	case n+4 > r.budget:
		code = OverBudget
	}
	if code != 0 {
		return nil, r.fail(&Error{Code: code, Type: t, Length: n})
	}
	if int64(len(head)) < 4+n {
		return nil, nil
	}
	m, err := decode(t, head[HeaderSize:4+n])
	if err != nil {
		return nil, r.fail(err)
	}
	r.budget -= 4 + n
	r.r += int(4 + n)
	return m, nil
}

func (r *Reader) fail(err error) error {
	r.err = err
	return err
}

// Fill calls Read once and invalidates the slices of earlier messages. A frame at the front of the
// buffer has passed Buffered's checks, so its announced length limits the allocation.
func (r *Reader) Fill() error {
	if r.err != nil {
		return r.err
	}
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	r.grow()
	n, err := r.src.Read(r.buf[r.w:])
	if n < 0 || n > len(r.buf)-r.w {
		n = 0
	}
	r.w += n
	switch {
	case n > 0 || err == nil:
		return nil // an error beside bytes is returned by the next Read, too
	case err == io.EOF && r.w > 0:
		return r.fail(&Error{Code: CutShort, Length: int64(r.w)})
	}
	return r.fail(err)
}

// grow makes room for the whole announced frame, and for more if the last read filled the buffer.
func (r *Reader) grow() {
	want := minBuffer
	if r.w == len(r.buf) {
		want = max(want, 2*len(r.buf))
	}
	if r.w >= 4 {
		want = max(want, int(get32(r.buf))+4)
	}
	want = min(want, MaxFrame)
	if want > len(r.buf) {
		buf := make([]byte, want)
		copy(buf, r.buf[:r.w])
		r.buf = buf
	}
}
