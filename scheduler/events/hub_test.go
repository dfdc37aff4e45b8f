package events

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/job"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const many = 1 << 30

// all reads a closed stream to its end.
func all(h *Hub, after uint64) []job.Event {
	var got []job.Event
	for e := range h.Read(context.Background(), after) {
		got = append(got, e)
	}
	return got
}

func show(events []job.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%d%s(%s) ", e.ID, e.Kind, e.Text)
	}
	return strings.TrimSpace(b.String())
}

func TestOrderAndResume(t *testing.T) {
	h := New(many, many)
	h.Started()
	h.Stdout([]byte("a"))
	h.Stderr([]byte("b"))
	h.Stdout(nil)
	rec := &job.Record{ID: "1"}
	h.End(rec)
	h.Stdout([]byte("late"))
	h.End(rec)
	if got := show(all(h, 0)); got != "1queued() 2started() 3stdout(a) 4stderr(b) 5result()" {
		t.Error(got)
	}
	if got := all(h, 3); show(got) != "4stderr(b) 5result()" || got[1].Record != rec {
		t.Error(show(got))
	}
	if got := all(h, 5); len(got) != 0 {
		t.Error(show(got))
	}
	for _, never := range []uint64{6, 1 << 63, ^uint64(0)} { // unknown IDs mean from the beginning
		if got := all(h, never); len(got) != 5 {
			t.Errorf("after %d: %s", never, show(got))
		}
	}
}

func TestAbandonedStreamHasNoResult(t *testing.T) {
	h := New(many, many)
	h.Stdout([]byte("a"))
	h.Abandon()
	h.End(&job.Record{})
	if got := show(all(h, 0)); got != "1queued() 2stdout(a)" {
		t.Error(got)
	}
}

func TestBoundsAndGap(t *testing.T) {
	for name, c := range map[string]struct {
		n    int
		text string
	}{"bytes": {600, strings.Repeat("x", 1024)}, "events": {hubEvents * 3, "x"}} {
		t.Run(name, func(t *testing.T) {
			h := New(many, many)
			for range c.n {
				h.Stdout([]byte(c.text))
				if h.bytes > hubBytes || len(h.events) > hubEvents {
					t.Fatalf("%d bytes in %d events", h.bytes, len(h.events))
				}
			}
			h.End(&job.Record{})
			got := all(h, 0)
			if got[0].Kind != job.EventGap || got[len(got)-1].Kind != job.EventResult {
				t.Fatalf("from %s to %s", got[0].Kind, got[len(got)-1].Kind)
			}
			for i, e := range got[1:] {
				if e.ID != got[0].ID+uint64(i)+1 {
					t.Fatalf("event %d has ID %d after a gap until %d", i, e.ID, got[0].ID)
				}
			}
			if again := all(h, got[0].ID); len(again) != len(got)-1 || again[0].Kind == job.EventGap {
				t.Error("resuming after the gap tells it again")
			}
		})
	}
}

func TestTextIsCapped(t *testing.T) {
	h := New(5, 3)
	for range 4 {
		h.Stdout([]byte("ab"))
		h.Stderr([]byte("€"))
	}
	h.End(&job.Record{})
	var out, err string
	for _, e := range all(h, 0) {
		switch e.Kind {
		case job.EventStdout:
			out += e.Text
		case job.EventStderr:
			err += e.Text
		}
	}
	if out != "ababa" || err != "€" {
		t.Errorf("%q %q", out, err)
	}
}

func TestTextNeverSplitsACharacter(t *testing.T) {
	text := strings.Repeat("a€😀é", 9000) // larger than one event
	for _, step := range []int{1, 2, 3, 5, 7, 1024, len(text)} {
		h := New(many, many)
		for rest := text; rest != ""; {
			n := min(step, len(rest))
			h.Stdout([]byte(rest[:n]))
			rest = rest[n:]
			h.events, h.bytes = h.check(t), 0
		}
		h.End(&job.Record{})
		h.check(t)
		if got := h.sum(); got != text {
			t.Errorf("step %d: %d bytes became %d", step, len(text), len(got))
		}
	}
}

var sums = map[*Hub]*strings.Builder{}

func (h *Hub) sum() string { return sums[h].String() }

// check verifies the published events, collects their text and removes them.
func (h *Hub) check(t *testing.T) []job.Event {
	if sums[h] == nil {
		sums[h] = &strings.Builder{}
	}
	for _, e := range h.events {
		if !utf8.ValidString(e.Text) || strings.ContainsRune(e.Text, utf8.RuneError) || len(e.Text) > textMost {
			t.Fatalf("event of %d bytes: %.20q", len(e.Text), e.Text)
		}
		sums[h].WriteString(e.Text)
	}
	return nil
}

// An incomplete character waits for its remaining bytes. At the end it is published as is, unless
// the cap cut it.
func TestIncompleteTailWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(many, 5)
		texts := func() string {
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			return show(h.events[1:])
		}
		h.Stdout([]byte("a\xe2\x82"))
		time.Sleep(time.Hour)
		if got := texts(); got != "2stdout(a)" {
			t.Error(got)
		}
		h.Stdout([]byte("\xac"))
		if got := texts(); got != "2stdout(a) 3stdout(€)" {
			t.Error(got)
		}
		h.Stderr([]byte("\xf0"))
		h.Stdout([]byte("\xe2"))
		time.Sleep(time.Hour)
		h.Stderr([]byte("\x9f"))
		if got := texts(); got != "2stdout(a) 3stdout(€)" {
			t.Errorf("%q", got)
		}
		h.Stderr([]byte("\x98\x80€")) // the cap of 5 bytes lies in the second character
		h.End(&job.Record{})
		if got := show(all(h, 3)); got != "4stderr(😀) 5stdout(\ufffd) 6result()" {
			t.Errorf("%q", got)
		}
	})
}

// Readers wait for events, each at its own pace. No reader slows the job or is left at the end.
func TestManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(many, many)
		const readers = 200
		counts := make(chan int, readers)
		for i := range readers {
			go func() {
				n, last := 0, uint64(0)
				for e := range h.Read(t.Context(), 0) {
					if e.ID <= last {
						t.Errorf("ID %d after %d", e.ID, last)
					}
					last = e.ID
					n++
					if i%10 == 0 {
						time.Sleep(time.Second) // slow
					}
				}
				counts <- n
			}()
		}
		gone, cancel := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			for range h.Read(gone, 0) {
				continue
			}
		}()
		start := time.Now()
		for range 100 {
			h.Stdout([]byte("x"))
			synctest.Wait()
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the job was held up for %s", took)
		}
		cancel()
		<-left
		h.End(&job.Record{})
		for range readers {
			if n := <-counts; n != 102 {
				t.Errorf("a reader saw %d events", n)
			}
		}
	})
}

func TestReaderTakesLittleAtATime(t *testing.T) {
	h := New(many, many)
	for range 16 {
		h.Stdout([]byte(strings.Repeat("x", textMost)))
	}
	size := 0
	batch, _ := h.since(0)
	for _, e := range batch {
		size += len(e.Text)
	}
	if size > batchBytes || size < batchBytes/2 {
		t.Errorf("%d bytes at once", size)
	}
}

func TestReaderStops(t *testing.T) {
	h := New(many, many)
	for range 10 {
		h.Stdout([]byte("x"))
	}
	n := 0
	for range h.Read(t.Context(), 0) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d events", n)
	}
}

func TestEndedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Ended
		if m.Get("x") != nil {
			t.Error("something in nothing")
		}
		add := func(id string, bytes int) {
			h := New(many, many)
			h.End(&job.Record{Stdout: strings.Repeat("x", bytes)})
			m.Add(id, h)
		}
		for i := range keptHubs * 2 {
			add(fmt.Sprint(i), 1)
		}
		if m.Get("0") != nil || m.Get(fmt.Sprint(keptHubs*2-1)) == nil || len(m.byID) != keptHubs ||
			len(m.order) != keptHubs {
			t.Errorf("%d kept", len(m.byID))
		}
		for i := range 20 {
			add(fmt.Sprint("big", i), keptHubBytes/10)
		}
		if len(m.byID) > 10 || m.bytes > keptHubBytes || m.Get("big19") == nil {
			t.Errorf("%d kept with %d bytes", len(m.byID), m.bytes)
		}
		time.Sleep(keptHubFor + 1)
		add("last", 1)
		if len(m.byID) != 1 || m.Get("last") == nil {
			t.Errorf("%d kept for too long", len(m.byID))
		}
		add("huge", keptHubBytes+1)
		if len(m.byID) != 0 || m.bytes != 0 {
			t.Errorf("%d kept, %d bytes", len(m.byID), m.bytes)
		}
	})
}
