package cli

import (
	"errors"
	"testing"

	"github.com/tsubo-run/tsubo/client"
)

// A slow reader does not block the stream and misses no event.
func TestAheadReadsOn(t *testing.T) {
	const many = 10_000
	ended := make(chan struct{})
	last := errors.New("the end")
	seq := func(yield func(client.Event, error) bool) {
		defer close(ended)
		for i := range uint64(many) {
			if !yield(client.Event{ID: i + 1}, nil) {
				return
			}
		}
		yield(client.Event{}, last)
	}
	n := uint64(0)
	for e, err := range ahead(seq) {
		if n++; n == 1 {
			<-ended // the whole stream is read while its first event is printed
		}
		if err != nil && (!errors.Is(err, last) || n != many+1) || err == nil && e.ID != n {
			t.Fatalf("event %d: %+v, %v", n, e, err)
		}
	}
	if n != many+1 {
		t.Errorf("%d events", n)
	}
	for range ahead(func(yield func(client.Event, error) bool) {
		_ = yield(client.Event{}, nil) && yield(client.Event{}, nil)
	}) {
		break // a reader that stops early
	}
}
