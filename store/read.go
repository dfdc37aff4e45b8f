package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/tsubo-run/tsubo/job"
)

// stmt is a statement on the reading connections, prepared once on each.
func (s *Store) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := s.prepared.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := s.reads.PrepareContext(ctx, query)
	if err != nil {
		return nil, s.sort(err)
	}
	if other, loaded := s.prepared.LoadOrStore(query, st); loaded {
		return other.(*sql.Stmt), st.Close()
	}
	return st, nil
}

// one scans one row; sql.ErrNoRows when there is none.
func (s *Store) one(ctx context.Context, query string, args []any, into ...any) error {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return err
	}
	return s.sort(st.QueryRowContext(ctx, args...).Scan(into...))
}

// each calls scan for every row.
func (s *Store) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return err
	}
	return eachRow(ctx, s, st.QueryContext, args, scan)
}

func eachRow(ctx context.Context, s *Store, query func(context.Context, ...any) (*sql.Rows, error), args []any, scan func(*sql.Rows) error) error {
	rows, err := query(ctx, args...)
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
	err = s.each(ctx, query, args, func(rows *sql.Rows) error {
		var v string
		err := rows.Scan(&v)
		all = append(all, v)
		return err
	})
	return all, err
}

// Queued returns the queued records, oldest first, without texts: for the start of the daemon.
func (s *Store) Queued(ctx context.Context) ([]job.Record, error) { return s.inStatus(ctx, job.Queued) }

// Running returns the running records, oldest first, without texts: whoever starts must reconcile them.
func (s *Store) Running(ctx context.Context) ([]job.Record, error) {
	return s.inStatus(ctx, job.Running)
}

func (s *Store) inStatus(ctx context.Context, status job.Status) (all []job.Record, err error) {
	err = s.each(ctx, `SELECT `+columns+` FROM records r WHERE r.status = ? ORDER BY r.created_at, r.seq`, []any{string(status)},
		func(rows *sql.Rows) error {
			r, err := scanRecord(rows)
			if err == nil {
				all = append(all, *r)
			}
			return err
		})
	return all, wrap("list", string(status), err)
}

// Request returns what was asked for. ErrNotFound when the record does not exist or was kept without it.
func (s *Store) Request(ctx context.Context, id string) (*job.Request, error) {
	if err := s.settle(ctx, id); err != nil {
		return nil, err
	}
	var body, input []byte
	if err := s.one(ctx, `SELECT q.body, q.input FROM records r JOIN requests q ON q.seq = r.seq WHERE r.id = ?`, []any{id}, &body, &input); err != nil {
		return nil, wrap("request of", id, missing(err))
	}
	req, err := decodeRequest(body, input)
	if err != nil {
		return nil, fmt.Errorf("%w: request of %s: %w", ErrCorrupt, id, err)
	}
	return req, nil
}

// Get returns a record, whoever owns it. ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*job.Record, error) {
	if err := s.settle(ctx, id); err != nil {
		return nil, err
	}
	st, err := s.stmt(ctx, `SELECT `+columns+`, t.stdout, t.stderr, t.output FROM records r LEFT JOIN texts t ON t.seq = r.seq WHERE r.id = ?`)
	if err != nil {
		return nil, wrap("get", id, err)
	}
	r, err := scanFull(st.QueryRowContext(ctx, id))
	if err != nil {
		return nil, wrap("get", id, s.sort(missing(err)))
	}
	return r, nil
}

// settle waits for a Save of the record.
func (s *Store) settle(ctx context.Context, id string) error {
	return s.saves.wait(ctx, func(p *pendingSave) bool { return p.rec.ID == id })
}

// List returns a page of records with their texts, newest first (created_at, then id, both descending), and whether there are more.
// A page may hold much text: Each has one record at a time.
func (s *Store) List(ctx context.Context, f job.Filter) (items []job.Record, more bool, err error) {
	more, err = s.Each(ctx, f, func(r *job.Record) error {
		items = append(items, *r)
		return nil
	})
	return items, more, err
}

// chunk is how many records Each has in memory.
const chunk = 8

// Each is List without the slice: do is called for each record of the page in order, between queries, so that it may be slow.
// The page is as it was at the call; a record that has gone since then, or has left the status that was asked for, is left out.
func (s *Store) Each(ctx context.Context, f job.Filter, do func(*job.Record) error) (more bool, err error) {
	if err := s.saves.wait(ctx, func(p *pendingSave) bool { return f.Caller == "" || p.rec.Caller == f.Caller }); err != nil {
		return false, err
	}
	page, err := s.page(ctx, f)
	if err != nil {
		return false, fmt.Errorf("list: %w", err)
	}
	if more = len(page) > f.Limit; more {
		page = page[:f.Limit]
	}
	for len(page) > 0 {
		n := min(chunk, len(page))
		records, err := s.records(ctx, page[:n])
		if err != nil {
			return false, fmt.Errorf("list: %w", err)
		}
		for _, r := range records {
			if r == nil || (f.Status != "" && string(r.Status) != f.Status) {
				continue
			}
			if err := do(r); err != nil {
				return false, err
			}
		}
		page = page[n:]
	}
	return more, nil
}

// records loads up to chunk records by number, in that order, nil for what is not there.
func (s *Store) records(ctx context.Context, seqs []int64) ([]*job.Record, error) {
	args := make([]any, chunk)
	for i := range args {
		args[i] = seqs[min(i, len(seqs)-1)]
	}
	found := make([]*job.Record, len(seqs))
	err := s.each(ctx, `SELECT `+columns+`, t.stdout, t.stderr, t.output, r.seq FROM records r LEFT JOIN texts t ON t.seq = r.seq
			WHERE r.seq IN (?`+strings.Repeat(",?", chunk-1)+`)`, args,
		func(rows *sql.Rows) error {
			var seq int64
			var stdout, stderr, output []byte
			r, err := scanRecord(rows, &stdout, &stderr, &output, &seq)
			if err != nil {
				return err
			}
			r.Stdout, r.Stderr, r.Output = string(stdout), string(stderr), output
			for i := range seqs {
				if seqs[i] == seq {
					found[i] = r
				}
			}
			return nil
		})
	return found, err
}

// page returns the numbers of the records of a page and one more when there are more.
func (s *Store) page(ctx context.Context, f job.Filter) (seqs []int64, err error) {
	query, args := listing(f)
	scan := func(rows *sql.Rows) error {
		var seq, created int64
		var id string
		err := rows.Scan(&seq, &created, &id)
		seqs = append(seqs, seq)
		return err
	}
	if len(f.Metadata) > 1 { // any number of shapes: not kept prepared
		err = eachRow(ctx, s, func(ctx context.Context, args ...any) (*sql.Rows, error) {
			return s.reads.QueryContext(ctx, query, args...)
		}, args, scan)
	} else {
		err = s.each(ctx, query, args, scan)
	}
	return seqs, err
}

var statuses = []job.Status{job.Queued, job.Running, job.Succeeded, job.Failed, job.Timeout, job.OOM, job.Cancelled}

// listing is the query of a page: number, time and id of its records. Without labels it is one index range, or a merge of one for
// each status; with labels it walks the newest records that have the first label. Values are bound, never written into it.
func listing(f job.Filter) (query string, args []any) {
	var q strings.Builder
	where := func(status string) string {
		var w []string
		if f.Caller != "" {
			w, args = append(w, "r.caller = ?"), append(args, f.Caller)
		}
		if f.JobType != "" {
			w, args = append(w, "r.job_type = ?"), append(args, f.JobType)
		}
		if status != "" {
			w, args = append(w, "r.status = ?"), append(args, status)
		}
		return strings.Join(w, " AND ")
	}
	if len(f.Metadata) == 0 {
		if f.Status != "" {
			q.WriteString(`SELECT r.seq AS seq, r.created_at AS created_at, r.id AS id FROM records r WHERE ` + where(f.Status))
		} else {
			for i, status := range statuses {
				if i > 0 {
					q.WriteString(` UNION ALL `)
				}
				q.WriteString(`SELECT r.seq AS seq, r.created_at AS created_at, r.id AS id FROM records r WHERE ` + where(string(status)))
			}
		}
	} else {
		q.WriteString(`SELECT r.seq AS seq, l.created_at AS created_at, r.id AS id FROM labels l CROSS JOIN records r ON r.seq = l.seq WHERE `)
		first := true
		for name, value := range f.Metadata {
			if first {
				q.WriteString(`l.name = ? AND l.value = ?`)
				args = append(args, name, value)
				if f.Caller != "" {
					q.WriteString(` AND l.caller = ?`)
					args = append(args, f.Caller)
				}
			} else {
				q.WriteString(` AND EXISTS (SELECT 1 FROM labels m WHERE m.caller = l.caller AND m.name = ? AND m.value = ?
					AND m.created_at = l.created_at AND m.seq = l.seq)`)
				args = append(args, name, value)
			}
			first = false
		}
		if w := where(f.Status); w != "" {
			q.WriteString(` AND ` + w)
		}
	}
	q.WriteString(` ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?`)
	return q.String(), append(args, f.Limit+1, max(f.Offset, 0))
}
