package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
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

// A handler that fails in the middle of its answer breaks the connection: half an answer must not
// look like a whole one.
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

// A body is read against a deadline, and none is left while the job runs: it would look like the
// caller's hang-up. The answer is written against a deadline, and that of the answer before is gone
// when the next request may be told to continue.
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

// A route that takes no body reads none: it answers before a byte of the body has come, and closes
// the connection.
func TestRoutesWithoutABodyReadNone(t *testing.T) {
	r := newRig(t, 0)
	for _, q := range []struct {
		line   string
		status int
	}{
		{"GET /health", 200}, {"POST /health", 405}, {"GET /docs", 200}, {"GET /openapi.json", 200}, {"GET /executions", 200},
		{"HEAD /jobs/nope/artifacts/a", 404}, {"DELETE /keys/nope", 404}, {"POST /nope", 404}, {"PUT /execute", 405},
	} {
		c, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // under bodyTimeout: only for the failing case
			t.Fatal(err)
		}
		method, _, _ := strings.Cut(q.line, " ")
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\nhalf of it", q.line)
		from := bufio.NewReader(c)
		a, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			t.Errorf("%s: %v", q.line, err)
			continue
		}
		if a.StatusCode != q.status || !a.Close {
			t.Errorf("%s: %d, want %d; connection closed: %v", q.line, a.StatusCode, q.status, a.Close)
		}
		if _, err := io.Copy(io.Discard, from); err != nil {
			t.Errorf("%s: the connection stays open: %v", q.line, err)
		}
	}
}

// One address holds its share of the connections and closes none but its own; a caller who has
// shown a key keeps the connection.
func TestOneAddressDoesNotShutOutKeys(t *testing.T) {
	f := newFull(t, keyed)
	address := f.tcp(TCPOptions{MaxConns: 64})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ask := func(c net.Conn, line string) int {
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n", line, aliceKey)
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0
		}
		_, _ = io.Copy(io.Discard, a.Body)
		return a.StatusCode
	}
	kept := dial()
	if status := ask(kept, "GET /executions"); status != 200 {
		t.Fatalf("a good key: %d", status)
	}
	var flood []net.Conn
	for range 200 {
		c := dial()
		flood = append(flood, c)
		fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if status := ask(kept, "GET /executions"); status != 200 {
		t.Errorf("a connection on which a key was shown: %d", status)
	}
	if status := ask(dial(), "GET /executions"); status != 200 {
		t.Errorf("a new connection with a key: %d", status)
	}
	if status := ask(flood[0], "GET /health"); status != 0 {
		if status = ask(flood[0], "GET /health"); status != 0 { // the first may read the answer from before
			t.Errorf("the oldest of 200 connections of one address is open: %d", status)
		}
	}
}

func TestTCPConns(t *testing.T) {
	conns := newTCPConns(64)
	add := func(from string) (c, out *boundedConn) {
		c = &boundedConn{conns: conns, from: from}
		return c, conns.add(c)
	}
	var first *boundedConn
	for i := range 8 {
		c, out := add("a")
		if out != nil {
			t.Fatalf("connection %d of an address closes another", i+1)
		}
		if i == 0 {
			first = c
		}
	}
	if _, out := add("a"); out != first {
		t.Errorf("the ninth of 8 closes %+v, want the oldest", out)
	}
	for i := range 40 {
		if _, out := add("b" + strconv.Itoa(i/4)); out != nil {
			t.Errorf("an unknown connection within three quarters closes %+v", out)
		}
	}
	if _, out := add("c"); out == nil || out.from != "a" {
		t.Errorf("one over three quarters closes %+v, want one of the address with the most", out)
	}
	for range 64 {
		c, _ := add("d")
		conns.know(c, "key:1", 32)
	}
	if n := conns.known["key:1"]; n != 32 || conns.waiting+conns.all > 64 {
		t.Errorf("one identity has %d places, and %d are open", n, conns.waiting+conns.all)
	}
	again, _ := add("e")
	for range 2 {
		conns.remove(again)
	}
	total := 0
	for _, all := range conns.unknown {
		total += len(all)
	}
	if conns.waiting != total {
		t.Errorf("%d are counted, %d are there", conns.waiting, total)
	}
}
