package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Accept stores a new queued job durably. If the caller has a record with the same idempotency key,
// Accept returns that record if its fingerprint is equal or empty, and ErrFingerprint otherwise. It
// returns a *job.Refusal if the caller's unfinished jobs exceed its quota. A zero rec.CreatedAt is
// set to now.
func (s *Store) Accept(ctx context.Context, rec *job.Record, req *job.Request) (existing *job.Record, err error) {
	if !job.Status("").CanBecome(rec.Status) {
		return nil, fmt.Errorf("accept %s as %q: %w", rec.ID, rec.Status, ErrTransition)
	}
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = s.now().UTC()
	}
	err = s.write(ctx, true, func(t *tx) error {
		existing = nil
		if rec.IdempotencyKey != "" {
			old, err := recordByKey(t, rec.Caller, rec.IdempotencyKey)
			if err != nil {
				return err
			}
			if old != nil {
				if old.Fingerprint != "" && old.Fingerprint != rec.Fingerprint {
					return ErrFingerprint
				}
				existing = old
				return nil
			}
		}
		if _, err := insertRecord(t, rec, req); err != nil {
			return err
		}
		full, err := s.trim(t, rec.Caller, rec.ID)
		if err == nil && full {
			err = errQuota()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	if existing == nil {
		s.counts.accepts.Add(1)
	}
	return existing, nil
}

const recordByKeyQuery = `SELECT ` + columns + ` FROM records r WHERE r.caller = ? AND r.idem_key = ?`

func recordByKey(t *tx, caller, key string) (*job.Record, error) {
	st, err := t.prepare(recordByKeyQuery)
	if err != nil {
		return nil, err
	}
	r, err := scanRecord(st.QueryRowContext(context.Background(), caller, key))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up idempotency key: %w", err)
	}
	return r, nil
}

// Begin sets the start mark: queued → running, by worker, with a lease that ends at lease. The mark
// is committed when Begin returns, so it survives the death of the process. It is synced with the
// next durable write.
func (s *Store) Begin(ctx context.Context, id string, attempt int, worker string, lease time.Time) error {
	err := s.write(ctx, false, func(t *tx) error {
		return s.change(t, id, job.Running, `UPDATE records SET
			status = 'running', attempt = ?2, worker = ?3, lease = ?4,
			dequeued_at = coalesce(dequeued_at, ?5), started_at = ?5 WHERE seq = ?1`,
			attempt, worker, nanos(lease), s.now().UnixNano())
	})
	return wrap("begin", id, err)
}

// Renew extends the leases of all jobs that worker runs.
func (s *Store) Renew(ctx context.Context, worker string, until time.Time) error {
	err := s.write(ctx, false, func(t *tx) error {
		_, err := t.exec(`UPDATE records SET lease = ? WHERE status = 'running' AND worker = ?`, nanos(until), worker)
		return err
	})
	return wrap("renew leases of", worker, err)
}

// Requeue durably clears the start mark: running → queued.
func (s *Store) Requeue(ctx context.Context, id string) error {
	err := s.write(ctx, true, func(t *tx) error {
		return s.change(t, id, job.Queued,
			`UPDATE records SET status = 'queued', worker = NULL, lease = NULL, started_at = NULL WHERE seq = ?1`)
	})
	return wrap("requeue", id, err)
}

// change moves the record to a status by running query, whose first argument is the record's seq.
func (s *Store) change(t *tx, id string, to job.Status, query string, args ...any) error {
	var seq int64
	var from job.Status
	if err := t.one(`SELECT seq, status FROM records WHERE id = ?`, []any{id}, &seq, &from); err != nil {
		return missing(err)
	}
	if err := allow(from, to); err != nil {
		return err
	}
	_, err := t.exec(query, append([]any{seq}, args...)...)
	return err
}

// allow returns an error unless [job.Status.CanBecome] permits the transition.
func allow(from, to job.Status) error {
	switch {
	case from.CanBecome(to):
		return nil
	case from.Terminal():
		return fmt.Errorf("%s → %s: %w", from, to, ErrTerminal)
	}
	return fmt.Errorf("%s → %s: %w", from, to, ErrTransition)
}

func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

func wrap(verb, what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, what, err)
	}
	return nil
}
