package api

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// maxSpool bounds the bytes of artifacts on disk that wait for their readers; half of it is one
// caller's at most.
const maxSpool = 4 << 30

// errFull reports that there is no room for an answer.
var errFull = errors.New("no room for the answer")

// inlined is the body of POST /execute with its artifacts in it. The base64 is made while the body
// is written, from a file without a name, so that a slow reader costs no memory.
type inlined struct {
	text  [][]byte // JSON: what comes before each artifact's base64, and the rest
	files []*io.SectionReader
	spool *os.File // nil when there is nothing in it
	close func()
}

// inline makes the answer and moves the artifacts to disk. The error is errFull, or that of the
// disk. The caller calls close.
func (s *Server) inline(c *call, a job.ExecuteAnswer, artifacts []job.Artifact) (_ *inlined, err error) {
	in := &inlined{close: func() {}}
	marks := make([][]byte, len(artifacts))
	var size int64
	for i := range artifacts {
		marks[i] = make([]byte, 33) // random, so that nothing else in the answer looks the same; 33 bytes need no padding
		_, _ = rand.Read(marks[i])  // never fails (crypto/rand)
		a.Artifacts[i].Data = marks[i]
		size += int64(len(artifacts[i].Data))
	}
	rest, err := encode(a)
	if err != nil {
		return nil, err
	}
	if len(rest) > freeBytes && !s.hold(c, int64(len(rest))) {
		return nil, errFull
	}
	for i := range marks {
		before, after, found := bytes.Cut(rest, []byte(base64.StdEncoding.EncodeToString(marks[i])))
		if !found {
			return nil, fmt.Errorf("inline artifact %d: its place is not in the answer", i)
		}
		in.text, rest = append(in.text, before), after
	}
	in.text = append(in.text, rest)
	if size == 0 {
		for range artifacts {
			in.files = append(in.files, io.NewSectionReader(nothing{}, 0, 0))
		}
		return in, nil
	}
	if !s.spooled.take(c.caller.Name, size, maxSpool) {
		return nil, errFull
	}
	in.close = func() { s.spooled.give(c.caller.Name, size) }
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if in.spool, err = s.spoolFile(); err != nil {
		return nil, err
	}
	in.close = func() {
		_ = in.spool.Close() // nobody reads it again
		s.spooled.give(c.caller.Name, size)
	}
	var at int64
	for _, f := range artifacts {
		if _, err := in.spool.Write(f.Data); err != nil {
			return nil, fmt.Errorf("keep inline artifacts: %w", err)
		}
		n := int64(len(f.Data))
		in.files = append(in.files, io.NewSectionReader(in.spool, at, n))
		at += n
	}
	return in, nil
}

// spoolFile is a file without a name; its bytes go when it is closed.
func (s *Server) spoolFile() (*os.File, error) {
	dir := s.opt.Spool
	if dir == "" {
		dir = os.TempDir()
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep inline artifacts: open a file in %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), "inline artifacts"), nil
}

// size of the body in bytes.
func (in *inlined) size() (n int64) {
	for _, t := range in.text {
		n += int64(len(t))
	}
	for _, f := range in.files {
		n += (f.Size() + 2) / 3 * 4
	}
	return n
}

// WriteTo implements io.WriterTo.
func (in *inlined) WriteTo(w io.Writer) (int64, error) {
	counted := &countedWriter{w: w}
	piece := make([]byte, 48<<10) // a multiple of 3
	for i, t := range in.text {
		if _, err := counted.Write(t); err != nil {
			return counted.n, err
		}
		if i == len(in.files) {
			break
		}
		to := base64.NewEncoder(base64.StdEncoding, counted)
		if _, err := io.CopyBuffer(to, onlyReader{in.files[i]}, piece); err != nil {
			return counted.n, fmt.Errorf("send inline artifact: %w", err)
		}
		if err := to.Close(); err != nil {
			return counted.n, fmt.Errorf("send inline artifact: %w", err)
		}
	}
	return counted.n, nil
}

// onlyReader hides WriteTo, so that the buffer's size is the caller's.
type onlyReader struct{ io.Reader }

type countedWriter struct {
	w io.Writer
	n int64
}

func (w *countedWriter) Write(b []byte) (int, error) {
	n, err := w.w.Write(b)
	w.n += int64(n)
	return n, err
}

// encode makes JSON with a line break at its end.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}
