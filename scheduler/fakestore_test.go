package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// memory is an in-memory Store. A call fails if fail returns an error.
type memory struct {
	mu      sync.Mutex
	order   []string
	records map[string]*job.Record
	request map[string]*job.Request
	leases  map[string]time.Time
	letters []job.DeadLetter
	saved   int
	renewed int
	fail    func(op, id string) error
	slow    chan struct{} // if not nil, Accept blocks until it is closed
}

func newMemory() *memory {
	return &memory{records: map[string]*job.Record{}, request: map[string]*job.Request{},
		leases: map[string]time.Time{}}
}

func (m *memory) check(op, id string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op, id)
}

func (m *memory) Accept(ctx context.Context, rec *job.Record, req *job.Request) (*job.Record, error) {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	if slow != nil {
		<-slow
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(ctx.Err(), m.check("accept", rec.ID)); err != nil {
		return nil, err
	}
	if rec.IdempotencyKey != "" {
		for _, id := range m.order {
			if r := m.records[id]; r.Caller == rec.Caller && r.IdempotencyKey == rec.IdempotencyKey {
				if r.Fingerprint != rec.Fingerprint {
					return nil, job.ErrFingerprint
				}
				existing := *r
				return &existing, nil
			}
		}
	}
	kept, asked := *rec, *req
	m.order = append(m.order, rec.ID)
	m.records[rec.ID], m.request[rec.ID] = &kept, &asked
	return nil, nil
}

func (m *memory) ByKey(_ context.Context, caller, key string) (*job.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.Caller == caller && r.IdempotencyKey == key {
			found := *r
			return &found, nil
		}
	}
	return nil, errors.Join(job.ErrNotFound, m.check("bykey", key))
}

func (m *memory) with(status job.Status) []job.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []job.Record
	for _, id := range m.order {
		if r := m.records[id]; r.Status == status {
			all = append(all, *r)
		}
	}
	return all
}

func (m *memory) Queued(context.Context) ([]job.Record, error) {
	return m.with(job.Queued), m.check("queued", "")
}

func (m *memory) Running(context.Context) ([]job.Record, error) {
	return m.with(job.Running), m.check("running", "")
}

func (m *memory) Get(_ context.Context, id string) (*job.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("get", id); err != nil {
		return nil, err
	}
	r := m.records[id]
	if r == nil {
		return nil, job.ErrNotFound
	}
	found := *r
	return &found, nil
}

func (m *memory) Request(_ context.Context, id string) (*job.Request, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check("request", id); err != nil {
		return nil, err
	}
	r := m.request[id]
	if r == nil {
		return nil, job.ErrNotFound
	}
	found := *r
	return &found, nil
}

// become is the only function that changes the status of a stored record.
func (m *memory) become(op, id string, next job.Status, change func(*job.Record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(op, id); err != nil {
		return err
	}
	r := m.records[id]
	if r == nil {
		return job.ErrNotFound
	}
	if !r.Status.CanBecome(next) {
		return fmt.Errorf("%s: from %s to %s", op, r.Status, next)
	}
	change(r)
	r.Status = next
	return nil
}

func (m *memory) Begin(_ context.Context, id string, attempt int, worker string, lease time.Time) error {
	return m.become("begin", id, job.Running, func(r *job.Record) {
		r.Attempt, r.WorkerID, r.DequeuedAt = attempt, worker, time.Now().UTC()
		m.leases[id] = lease
	})
}

func (m *memory) Renew(_ context.Context, worker string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renewed++
	for id, r := range m.records {
		if r.Status == job.Running && r.WorkerID == worker {
			m.leases[id] = until
		}
	}
	return m.check("renew", "")
}

func (m *memory) Requeue(_ context.Context, id string) error {
	return m.become("requeue", id, job.Queued, func(*job.Record) { delete(m.leases, id) })
}

func (m *memory) Finish(_ context.Context, rec *job.Record, _ []job.Artifact) error {
	if !rec.Status.Terminal() {
		return errors.New("finish: not terminal")
	}
	return m.become("finish", rec.ID, rec.Status, func(r *job.Record) { *r = *rec; delete(m.leases, rec.ID) })
}

func (m *memory) Save(rec *job.Record, req *job.Request, _ []job.Artifact) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved++
	kept := *rec
	m.order = append(m.order, rec.ID)
	m.records[rec.ID], m.request[rec.ID] = &kept, req
}

func (m *memory) Dead(_ context.Context, l *job.DeadLetter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.letters = append(m.letters, *l)
	return m.check("dead", l.JobID)
}

func (m *memory) record(id string) job.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[id]; r != nil {
		return *r
	}
	return job.Record{}
}

func (m *memory) dead() []job.DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.letters)
}

// failing makes the given operations fail n times in total.
func (m *memory) failing(n int, ops ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = func(op, _ string) error {
		if n > 0 && slices.Contains(ops, op) {
			n--
			return errors.New(op + ": disk I/O error on /var/lib/tsubo/state/db")
		}
		return nil
	}
}
