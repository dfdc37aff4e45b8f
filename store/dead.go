package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tsubo-run/tsubo/job"
)

// Dead durably adds an entry to the dead letter queue and sets d.ID. A zero CreatedAt is set to
// now.
func (s *Store) Dead(ctx context.Context, d *job.DeadLetter) error {
	if d.CreatedAt.IsZero() {
		d.CreatedAt = s.now().UTC()
	}
	err := s.write(ctx, true, func(t *tx) error {
		return t.one(`INSERT INTO dead_letters (job_id, caller, summary, error_type, error_message,
				retry_count, created_at, client_ip, correlation_id)
				VALUES (?,?,?,?,?,?,?,?,?) RETURNING id`,
			[]any{d.JobID, d.Caller, []byte(d.Summary), d.ErrorType, d.ErrorMessage, d.RetryCount,
				d.CreatedAt.UnixNano(), d.ClientIP, d.CorrelationID}, &d.ID)
	})
	return wrap("dead letter of", d.JobID, err)
}

// DeadLetters returns a page of the dead letter queue, newest first. more reports whether older
// entries exist. An empty caller or errorType selects all.
func (s *Store) DeadLetters(
	ctx context.Context, caller, errorType string, limit, offset int,
) (page []job.DeadLetter, more bool, err error) {
	query, args := `SELECT id, job_id, caller, summary, error_type, error_message,
		retry_count, created_at, client_ip, correlation_id
		FROM dead_letters WHERE 1 = 1`, []any{}
	if caller != "" {
		query, args = query+` AND caller = ?`, append(args, caller)
	}
	if errorType != "" {
		query, args = query+` AND error_type = ?`, append(args, errorType)
	}
	err = s.each(ctx, s.lists, query+` ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?`,
		append(args, limit+1, max(offset, 0)), func(rows *sql.Rows) error {
			var d job.DeadLetter
			var summary []byte
			var created sql.NullInt64
			if err := rows.Scan(&d.ID, &d.JobID, &d.Caller, &summary, &d.ErrorType, &d.ErrorMessage, &d.RetryCount,
				&created, &d.ClientIP, &d.CorrelationID); err != nil {
				return err
			}
			d.Summary, d.CreatedAt = summary, fromNanos(created)
			page = append(page, d)
			return nil
		})
	if err != nil {
		return nil, false, fmt.Errorf("list dead letters: %w", err)
	}
	if more = len(page) > limit; more {
		page = page[:limit]
	}
	return page, more, nil
}

// DeadStats returns the number of dead letters, in total and by error type.
func (s *Store) DeadStats(ctx context.Context) (total int, byType map[string]int, err error) {
	byType = map[string]int{}
	err = s.each(ctx, s.lists, `SELECT error_type, count(*) FROM dead_letters GROUP BY error_type`, nil,
		func(rows *sql.Rows) error {
			var kind string
			var n int
			err := rows.Scan(&kind, &n)
			byType[kind] += n
			total += n
			return err
		})
	return total, byType, wrap("count", "dead letters", err)
}

// RemoveDead removes an entry, or returns ErrNotFound.
func (s *Store) RemoveDead(ctx context.Context, id int64) error {
	err := s.write(ctx, true, func(t *tx) error {
		n, err := t.exec(`DELETE FROM dead_letters WHERE id = ?`, id)
		if err == nil && n == 0 {
			err = ErrNotFound
		}
		return err
	})
	return wrap("remove dead letter", fmt.Sprint(id), err)
}
