package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A length over the limit is refused before a byte of the body has come.
func TestAnnouncedLengthIsRefusedAtOnce(t *testing.T) {
	r := newRig(t, 0)
	for _, path := range []string{"/execute", "/health", "/images?name=a"} {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // under bodyTimeout: only for the failing case
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", path)
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if a.StatusCode != 413 || !a.Close {
			t.Errorf("%s: %d, connection closed: %v", path, a.StatusCode, a.Close)
		}
		_ = a.Body.Close()
	}
	if len(r.images.imported) != 0 || r.images.bytes != 0 || len(r.exec.ran()) != 0 {
		t.Error("something ran")
	}
}

// A handler that fails in the middle of its answer breaks the connection: half an answer must not look like a whole one.
func TestPanicInTheMiddleOfAnAnswer(t *testing.T) {
	r := newRig(t, 0)
	r.server.routes = append(r.server.routes, route{http.MethodGet, "/half", roleUser, false, func(c *call) {
		_, _ = io.WriteString(c.w, strings.Repeat("a", 1<<16))
		panic("boom")
	}})
	a, err := r.client.Get("http://tsubo/half")
	if err == nil {
		_, err = io.ReadAll(a.Body)
		_ = a.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
}

// deadlines is a connection that notes its deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write = append(d.write, t)
	return nil
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// A body is read against a deadline, and none is left while the job runs: it would look like the caller's hang-up. The answer is
// written against a deadline, and that of the answer before is gone when the next request may be told to continue.
func TestDeadlines(t *testing.T) {
	r := newRig(t, 0)
	for path, body := range map[string]string{"/execute": `{"code":"1"}`, "/images?name=a": "archive"} {
		q := httptest.NewRequestWithContext(context.WithValue(t.Context(), peerKey{}, uint32(0)), "POST", path, strings.NewReader(body))
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r.server.ServeHTTP(w, q)
		if w.Code/100 != 2 || len(w.read) < 2 || w.read[0].IsZero() || !w.read[len(w.read)-1].IsZero() {
			t.Errorf("%s: %d, read deadlines %v", path, w.Code, w.read)
		}
		if len(w.write) != 2 || !w.write[0].IsZero() || w.write[1].IsZero() {
			t.Errorf("%s: write deadlines %v", path, w.write)
		}
	}
}
