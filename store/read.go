package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// pool is a small set of read connections with prepared statements. Listings, which may read much,
// use a pool of their own, so that they do not delay look-ups.
type pool struct {
	db       *sql.DB
	prepared sync.Map // query → *sql.Stmt
}

func openPool(ctx context.Context, file string) (*pool, error) {
	db, err := sql.Open("sqlite", dataSource(file, readerPragmas))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	db.SetConnMaxIdleTime(time.Minute)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &pool{db: db}, nil
}

func (p *pool) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := p.prepared.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if other, loaded := p.prepared.LoadOrStore(query, st); loaded {
		return other.(*sql.Stmt), st.Close()
	}
	return st, nil
}

// one scans a single row. It returns sql.ErrNoRows if there is none.
func (s *Store) one(ctx context.Context, query string, args []any, into ...any) error {
	st, err := s.reads.stmt(ctx, query)
	if err != nil {
		return s.sort(err)
	}
	return s.sort(st.QueryRowContext(ctx, args...).Scan(into...))
}

// each runs a prepared query and calls scan for every row.
func (s *Store) each(ctx context.Context, p *pool, query string, args []any, scan func(*sql.Rows) error) error {
	return s.eachRow(scan, func() (*sql.Rows, error) {
		st, err := p.stmt(ctx, query)
		if err != nil {
			return nil, err
		}
		return st.QueryContext(ctx, args...)
	})
}

func (s *Store) eachRow(scan func(*sql.Rows) error, query func() (*sql.Rows, error)) error {
	rows, err := query()
	if err != nil {
		return s.sort(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return s.sort(err)
		}
	}
	return s.sort(rows.Err())
}

func (s *Store) strings(ctx context.Context, query string, args ...any) (all []string, err error) {
	err = s.each(ctx, s.lists, query, args, func(rows *sql.Rows) error {
		var v string
		err := rows.Scan(&v)
		all = append(all, v)
		return err
	})
	return all, err
}

// Queued returns the queued records, oldest first, without texts. The daemon uses it at its start.
func (s *Store) Queued(ctx context.Context) ([]job.Record, error) { return s.inStatus(ctx, job.Queued) }

// Running returns the running records, oldest first, without texts. At its start the daemon must
// reconcile them.
func (s *Store) Running(ctx context.Context) ([]job.Record, error) {
	return s.inStatus(ctx, job.Running)
}

func (s *Store) inStatus(ctx context.Context, status job.Status) (all []job.Record, err error) {
	err = s.each(ctx, s.lists, `SELECT `+columns+` FROM records r WHERE r.status = ? ORDER BY r.created_at, r.seq`,
		[]any{string(status)},
		func(rows *sql.Rows) error {
			r, err := scanRecord(rows)
			if err == nil {
				all = append(all, *r)
			}
			return err
		})
	return all, wrap("list", string(status), err)
}

// Request returns the job's request. It returns ErrNotFound if the record does not exist or was
// stored without a request.
func (s *Store) Request(ctx context.Context, id string) (*job.Request, error) {
	if err := s.settle(ctx, id); err != nil {
		return nil, err
	}
	var body, input []byte
	if err := s.one(ctx, `SELECT q.body, q.input FROM records r JOIN requests q ON q.seq = r.seq WHERE r.id = ?`,
		[]any{id}, &body, &input); err != nil {
		return nil, wrap("request of", id, missing(err))
	}
	req, err := decodeRequest(body, input)
	if err != nil {
		return nil, fmt.Errorf("%w: request of %s: %w", ErrCorrupt, id, err)
	}
	return req, nil
}

// Get returns a record, whoever its caller is, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*job.Record, error) {
	if err := s.settle(ctx, id); err != nil {
		return nil, err
	}
	st, err := s.reads.stmt(ctx,
		`SELECT `+columns+`, t.stdout, t.stderr, t.output
			FROM records r LEFT JOIN texts t ON t.seq = r.seq WHERE r.id = ?`)
	if err != nil {
		return nil, wrap("get", id, s.sort(err))
	}
	r, err := scanFull(st.QueryRowContext(ctx, id))
	if err != nil {
		return nil, wrap("get", id, s.sort(missing(err)))
	}
	return r, nil
}

// ByKey returns the caller's record with an idempotency key, without outputs, or ErrNotFound.
func (s *Store) ByKey(ctx context.Context, caller, key string) (*job.Record, error) {
	st, err := s.reads.stmt(ctx, recordByKeyQuery)
	if err != nil {
		return nil, wrap("look up an idempotency key of", caller, s.sort(err))
	}
	r, err := scanRecord(st.QueryRowContext(ctx, caller, key))
	if err != nil {
		return nil, wrap("look up an idempotency key of", caller, s.sort(missing(err)))
	}
	return r, nil
}

// settle waits until a pending Save of the record is done.
func (s *Store) settle(ctx context.Context, id string) error {
	return s.saves.wait(ctx, func(p *pendingSave) bool { return p.rec.ID == id })
}
