package netns

import (
	"context"
	"errors"
	"sync"
)

// Stock is a small buffer of ready namespaces, so that a boot need not wait. It is safe for
// concurrent use.
type Stock struct {
	ready chan *NS
	wake  chan struct{} // capacity 1: the buffer may have room
	quit  chan struct{}
	done  chan struct{}

	mu     sync.RWMutex // held for reading by Take, so that Close empties the buffer for good
	closed bool
}

// NewStock starts a goroutine that keeps size namespaces ready, at least 1. The caller closes the
// stock.
func NewStock(size int) *Stock {
	s := &Stock{
		ready: make(chan *NS, max(1, size)),
		wake:  make(chan struct{}, 1),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	s.wake <- struct{}{}
	go s.fill()
	return s
}

// fill creates namespaces until the buffer is full, then waits for a Take. After a failure it
// waits, too: the next Take finds no namespace, calls [New] itself and returns the error.
func (s *Stock) fill() {
	defer close(s.done)
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		for len(s.ready) < cap(s.ready) { // only this goroutine sends
			n, err := New()
			if err != nil {
				break
			}
			s.ready <- n
			select {
			case <-s.quit:
				return
			default:
			}
		}
	}
}

// Take returns a ready namespace, or creates one. The caller closes the NS. After Close it returns
// [ErrClosed].
func (s *Stock) Take(ctx context.Context) (*NS, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	defer func() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}()
	select {
	case n := <-s.ready:
		return n, nil
	default:
		return New()
	}
}

// Close stops the goroutine and closes the remaining namespaces. It is idempotent.
func (s *Stock) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.quit)
	<-s.done
	var errs []error
	for {
		select {
		case n := <-s.ready:
			errs = append(errs, n.Close())
		default:
			return errors.Join(errs...)
		}
	}
}
