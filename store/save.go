package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Save stores the terminal record of a synchronous run in the background. It sets rec.Artifacts and
// does not block. Neither the arguments nor the data they point to may change afterwards. If too
// much is pending or the write fails, the record is lost and the loss is logged (wire.md 1.1: best
// effort). Get, List and Delete see the record immediately.
func (s *Store) Save(rec *job.Record, req *job.Request, artifacts []job.Artifact) {
	rec.Artifacts = refsOf(artifacts)
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = s.now().UTC()
	}
	p := &pendingSave{rec: *rec, req: req, artifacts: artifacts, done: make(chan struct{})}
	p.rec.Async = false
	if p.rec.EndedAt.IsZero() {
		p.rec.EndedAt = s.now().UTC()
	}
	p.size = int64(len(rec.Stdout) + len(rec.Stderr) + len(rec.Output))
	for _, a := range artifacts {
		p.size += int64(len(a.Data))
	}
	if req != nil {
		p.size += int64(len(req.Code) + len(req.Input) + len(req.Stdin))
		for _, f := range slices.Concat(req.CodeFiles, req.Files) {
			p.size += int64(len(f.Data))
		}
	}
	err := fmt.Errorf("status %q: %w", rec.Status, ErrTransition)
	if rec.Status.Terminal() {
		err = s.saves.add(p)
	}
	if err != nil {
		s.lost(rec.ID, err)
	}
}

// answerFirst is the delay before a save, which leaves the CPU to the run's response. Get and List
// wait for the save.
const answerFirst = 5 * time.Millisecond

func (s *Store) saver() {
	for p := range s.saves.waiting {
		time.Sleep(answerFirst)
		if err := s.save(p); err != nil {
			s.lost(p.rec.ID, err)
		} else {
			s.counts.saves.Add(1)
		}
		s.saves.remove(p)
	}
}

func (s *Store) save(p *pendingSave) (err error) {
	refs, done, err := s.keepFiles(context.Background(), p.artifacts)
	defer func() { done(err == nil) }()
	if err != nil {
		return err
	}
	p.rec.Artifacts = refs
	return s.write(context.Background(), false, func(t *tx) error {
		seq, err := insertRecord(t, &p.rec, p.req)
		if err != nil {
			return err
		}
		if err := writeRefs(t, seq, refs); err != nil {
			return err
		}
		_, err = s.trim(t, p.rec.Caller, p.rec.ID)
		return err
	})
}

// lost logs a record that Save could not store, at most once per second: a full disk loses many.
func (s *Store) lost(id string, err error) {
	n := s.counts.dropped.Add(1)
	s.saves.mu.Lock()
	quiet := s.now().Sub(s.saves.logged) < time.Second && !s.saves.logged.IsZero()
	if !quiet {
		s.saves.logged = s.now()
	}
	s.saves.mu.Unlock()
	if !quiet {
		s.log.Error("store: the record of a synchronous run is lost", "id", id, "lost_so_far", n, "error", err)
	}
}

type pendingSave struct {
	rec       job.Record
	req       *job.Request
	artifacts []job.Artifact
	size      int64
	done      chan struct{} // closed when the record is stored or lost
}

// saveQueue holds records that Save has accepted and the savers have not yet stored.
type saveQueue struct {
	waiting chan *pendingSave
	limit   int64

	mu      sync.Mutex
	pending map[string]*pendingSave // by ID, until stored or lost
	bytes   int64
	closed  bool
	logged  time.Time
}

func newSaveQueue(limit int64) *saveQueue {
	if limit <= 0 {
		limit = defaultSaveBytes
	}
	return &saveQueue{waiting: make(chan *pendingSave, maxSaves), limit: limit, pending: map[string]*pendingSave{}}
}

var (
	errSavesFull = errors.New("too much is waiting to be kept")
	errSavedOnce = errors.New("a record of that id is waiting already")
)

// add queues p. An item over the limit is accepted if the queue is empty.
func (q *saveQueue) add(p *pendingSave) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case q.pending[p.rec.ID] != nil:
		return errSavedOnce
	case len(q.pending) >= maxSaves || (len(q.pending) > 0 && q.bytes+p.size > q.limit):
		return errSavesFull
	}
	q.pending[p.rec.ID] = p
	q.bytes += p.size
	q.waiting <- p // does not block: capacity maxSaves
	return nil
}

func (q *saveQueue) remove(p *pendingSave) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.pending, p.rec.ID)
	q.bytes -= p.size
	close(p.done)
}

// wait waits until the matching pending saves are stored or lost.
func (q *saveQueue) wait(ctx context.Context, match func(*pendingSave) bool) error {
	var matched []*pendingSave
	q.mu.Lock()
	for _, p := range q.pending {
		if match(p) {
			matched = append(matched, p)
		}
	}
	q.mu.Unlock()
	for _, p := range matched {
		select {
		case <-p.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// close refuses further saves. The savers end once the queue is empty.
func (q *saveQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	close(q.waiting)
}
