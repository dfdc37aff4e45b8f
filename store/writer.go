package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
)

// maxGroup limits the operations of a transaction.
const maxGroup = 256

// op is a write. do may run more than once; each run starts from the same state.
type op struct {
	do      func(*tx) error
	durable bool
	alone   bool // outside of a transaction
	done    chan error
}

// writer runs all writes on a single goroutine.
type writer struct {
	s    *Store
	ops  chan *op
	end  chan struct{} // closed by close: finish the pending ops, then return
	left chan struct{} // closed when run has returned
	tx   *tx
	full bool // whether the connection has synchronous=FULL
	err  error
}

func startWriter(ctx context.Context, s *Store) (*writer, error) {
	conn, err := s.writes.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open database %s for writing: %w", s.file, err)
	}
	w := &writer{
		s: s, ops: make(chan *op, maxGroup), end: make(chan struct{}), left: make(chan struct{}),
		tx: &tx{conn: conn, stmts: map[string]*sql.Stmt{}}, full: true,
	}
	go w.run()
	return w, nil
}

// write runs do in a transaction together with other waiting writes. It returns once the
// transaction is committed, and synced if durable is set. ctx counts only until the writer has
// taken the operation. After that write waits for the outcome, so that the result is definite.
func (s *Store) write(ctx context.Context, durable bool, do func(*tx) error) error {
	return s.writer.submit(ctx, &op{do: do, durable: durable, done: make(chan error, 1)})
}

// alone runs do between transactions.
func (w *writer) alone(ctx context.Context, do func(*tx) error) error {
	return w.submit(ctx, &op{do: do, alone: true, done: make(chan error, 1)})
}

func (w *writer) submit(ctx context.Context, o *op) error {
	select {
	case <-w.end:
		return ErrClosed
	default:
	}
	select {
	case w.ops <- o:
	case <-w.end:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-o.done:
		return w.s.sort(err)
	case <-w.left:
		select {
		case err := <-o.done:
			return w.s.sort(err)
		default:
			return ErrClosed
		}
	}
}

func (w *writer) run() {
	defer close(w.left)
	for {
		select {
		case o := <-w.ops:
			w.take(o)
		case <-w.end:
			for {
				select {
				case o := <-w.ops:
					w.take(o)
				default:
					w.err = w.finish()
					return
				}
			}
		}
	}
}

// take runs o together with the waiting operations.
func (w *writer) take(o *op) {
	group := make([]*op, 0, 16)
	yielded := false
	for {
		if o.alone {
			w.commit(group)
			o.done <- o.do(w.tx)
			return
		}
		group = append(group, o)
		if len(group) == maxGroup {
			break
		}
		select {
		case o = <-w.ops:
			continue
		default:
		}
		if yielded {
			break
		}
		// Yield once, so that operations about to be submitted share this sync.
		yielded = true
		runtime.Gosched()
		select {
		case o = <-w.ops:
			continue
		default:
		}
		break
	}
	w.commit(group)
}

// commit runs the group in a transaction. If the transaction fails as a whole (full disk, I/O
// error), it runs each operation once in a transaction of its own, so that a large operation cannot
// fail the small ones.
func (w *writer) commit(group []*op) {
	if len(group) == 0 {
		return
	}
	errs, err := w.transaction(group)
	if err != nil && len(group) > 1 {
		for _, o := range group {
			w.commit([]*op{o})
		}
		return
	}
	w.s.counts.operations.Add(int64(len(group)))
	for i, o := range group {
		if err != nil {
			o.done <- err
		} else {
			o.done <- errs[i]
		}
	}
}

// transaction returns the result of each operation, or an error if nothing of the group was
// committed.
func (w *writer) transaction(group []*op) (errs []error, err error) {
	durable := false
	for _, o := range group {
		durable = durable || o.durable
	}
	if durable != w.full {
		mode := "NORMAL"
		if durable {
			mode = "FULL"
		}
		if _, err := w.tx.exec("PRAGMA synchronous = " + mode); err != nil {
			return nil, fmt.Errorf("set synchronous: %w", err)
		}
		w.full = durable
	}
	if _, err := w.tx.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_, _ = w.tx.exec("ROLLBACK") // fails if SQLite has already rolled back
		}
	}()
	errs = make([]error, len(group))
	kept := 0
	for i, o := range group {
		if errs[i], err = w.attempt(o); err != nil {
			return nil, err
		}
		if errs[i] == nil {
			kept++
		}
	}
	if kept == 0 {
		if _, err := w.tx.exec("ROLLBACK"); err != nil {
			return nil, fmt.Errorf("roll back: %w", err)
		}
		return errs, nil
	}
	if _, err := w.tx.exec("COMMIT"); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	w.s.counts.commits.Add(1)
	if durable {
		w.s.counts.syncs.Add(1)
	}
	return errs, nil
}

// attempt runs an operation and rolls it back if it fails. broken means that the transaction itself
// failed.
func (w *writer) attempt(o *op) (failed, broken error) {
	if _, err := w.tx.exec("SAVEPOINT op"); err != nil {
		return nil, fmt.Errorf("savepoint: %w", err)
	}
	failed = o.do(w.tx)
	if failed != nil {
		if breaksGroup(failed) {
			return nil, failed
		}
		if _, err := w.tx.exec("ROLLBACK TO op"); err != nil {
			return nil, fmt.Errorf("take back an operation: %w", errors.Join(failed, err))
		}
	}
	if _, err := w.tx.exec("RELEASE op"); err != nil {
		return nil, fmt.Errorf("release savepoint: %w", err)
	}
	return failed, nil
}

// close waits for the submitted operations and checkpoints the log into the database.
func (w *writer) close() error {
	close(w.end)
	<-w.left
	return w.err
}

func (w *writer) finish() error {
	_, err := w.tx.exec("PRAGMA synchronous = FULL")
	return errors.Join(err, w.tx.checkpoint("TRUNCATE"), w.tx.close())
}

// tx is the write connection with its prepared statements. Writes use a context that never ends,
// because interrupting them would help nobody.
type tx struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (t *tx) prepare(query string) (*sql.Stmt, error) {
	if st, ok := t.stmts[query]; ok {
		return st, nil
	}
	st, err := t.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	t.stmts[query] = st
	return st, nil
}

// exec runs a statement and returns the number of changed rows.
func (t *tx) exec(query string, args ...any) (int64, error) {
	st, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := st.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// one scans a single row. It returns sql.ErrNoRows if there is none.
func (t *tx) one(query string, args []any, into ...any) error {
	st, err := t.prepare(query)
	if err != nil {
		return err
	}
	return st.QueryRowContext(context.Background(), args...).Scan(into...)
}

// numbers returns the first column of every row.
func (t *tx) numbers(query string, args ...any) ([]int64, error) {
	st, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := st.QueryContext(context.Background(), args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// checkpoint syncs the log and copies it into the database as far as readers allow.
func (t *tx) checkpoint(mode string) error {
	var busy, log, done int
	if err := t.one("PRAGMA wal_checkpoint("+mode+")", nil, &busy, &log, &done); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

func (t *tx) close() error {
	var errs []error
	for _, st := range t.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, t.conn.Close())...)
}
