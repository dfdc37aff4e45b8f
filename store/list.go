package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tsubo-run/tsubo/job"
)

// List returns a page of records with their texts, newest first (created_at, then id, both
// descending). more reports whether older records exist. A page may be large; [Store.Each] holds
// only a few records in memory.
func (s *Store) List(ctx context.Context, f job.Filter) (items []job.Record, more bool, err error) {
	more, err = s.Each(ctx, f, func(r *job.Record) error {
		items = append(items, *r)
		return nil
	})
	return items, more, err
}

// chunk is the number of records that Each holds in memory.
const chunk = 8

// Each calls do for each record of the page that List would return, in order. do runs between
// queries, so it may be slow. The page is fixed at the call. Records that have since been removed
// or left the requested status are skipped.
func (s *Store) Each(ctx context.Context, f job.Filter, do func(*job.Record) error) (more bool, err error) {
	if err := s.saves.wait(ctx,
		func(p *pendingSave) bool { return f.Caller == "" || p.rec.Caller == f.Caller }); err != nil {
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

// records loads up to chunk records by seq, in that order, with nil for missing records.
func (s *Store) records(ctx context.Context, seqs []int64) ([]*job.Record, error) {
	args := make([]any, chunk)
	for i := range args {
		args[i] = seqs[min(i, len(seqs)-1)]
	}
	found := make([]*job.Record, len(seqs))
	err := s.each(ctx, s.lists, `SELECT `+columns+`, t.stdout, t.stderr, t.output, r.seq
			FROM records r LEFT JOIN texts t ON t.seq = r.seq
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

// page returns the seqs of the page's records, and one more if there are older records.
func (s *Store) page(ctx context.Context, f job.Filter) (seqs []int64, err error) {
	names := slices.Sorted(maps.Keys(f.Metadata))
	lead, err := s.lead(ctx, f, names)
	if err != nil {
		return nil, err
	}
	query, args := listing(f, names, lead, f.Limit+1, max(f.Offset, 0))
	err = s.walk(ctx, query, args, len(names) <= 1, func(seq, _ int64) { seqs = append(seqs, seq) })
	return seqs, err
}

// walk runs a query of listing. Queries with many labels have too many shapes to keep prepared.
func (s *Store) walk(ctx context.Context, query string, args []any, keep bool, do func(seq, created int64)) error {
	scan := func(rows *sql.Rows) error {
		var seq, created int64
		var id string
		err := rows.Scan(&seq, &created, &id)
		do(seq, created)
		return err
	}
	if keep {
		return s.each(ctx, s.lists, query, args, scan)
	}
	return s.eachRow(scan, func() (*sql.Rows, error) { return s.lists.db.QueryContext(ctx, query, args...) })
}

const (
	byRecords = -1  // lead: walk the records by status, type and caller
	sample    = 256 // records read to estimate the density of a walk
)

// lead chooses the index range that a listing with labels walks: the records with label
// names[lead], or the records of the status, type and caller. All ranges are in order of time, so
// the sparsest is the range whose first records reach furthest back.
func (s *Store) lead(ctx context.Context, f job.Filter, names []string) (lead int, err error) {
	if len(names) == 0 {
		return byRecords, nil
	}
	if len(names) == 1 && f.Status == "" && f.JobType == "" {
		return 0, nil
	}
	oldest := int64(0)
	for candidate := byRecords; candidate < len(names); candidate++ {
		if candidate == byRecords && f.Status == "" && f.JobType == "" {
			continue
		}
		only := job.Filter{Caller: f.Caller}
		var label []string
		if candidate == byRecords {
			only.Status, only.JobType = f.Status, f.JobType
		} else {
			only.Metadata, label = map[string]string{names[candidate]: f.Metadata[names[candidate]]},
				names[candidate:candidate+1]
		}
		reaches := int64(-1) // reaches back to the beginning
		query, args := listing(only, label, min(candidate, 0), 1, sample)
		if err := s.walk(ctx, query, args, true, func(_, created int64) { reaches = created }); err != nil {
			return 0, err
		}
		if reaches < 0 {
			return candidate, nil
		}
		if oldest == 0 || reaches < oldest {
			oldest, lead = reaches, candidate
		}
	}
	return lead, nil
}

var statuses = []string{string(job.Queued), string(job.Running), string(job.Succeeded), string(job.Failed),
	string(job.Timeout), string(job.OOM), string(job.Cancelled)}

// listing returns the query for seq, time and ID of a page's records, newest first. The query walks
// a single index range (see lead), or merges a range per status. Values are bound, never written
// into the text.
func listing(f job.Filter, names []string, lead, limit, offset int) (query string, args []any) {
	var q strings.Builder
	where := func(condition string, values ...any) {
		q.WriteString(condition)
		args = append(args, values...)
	}
	others := func() {
		for i, name := range names {
			if i != lead {
				where(` AND EXISTS (SELECT 1 FROM labels m WHERE m.caller = r.caller AND m.name = ? AND m.value = ?
					AND m.created_at = r.created_at AND m.seq = r.seq)`, name, f.Metadata[name])
			}
		}
	}
	if lead != byRecords {
		where(`SELECT r.seq AS seq, l.created_at AS created_at, r.id AS id
			FROM labels l CROSS JOIN records r ON r.seq = l.seq
			WHERE l.name = ? AND l.value = ?`, names[lead], f.Metadata[names[lead]])
		if f.Caller != "" {
			where(` AND l.caller = ?`, f.Caller)
		}
		if f.JobType != "" {
			where(` AND r.job_type = ?`, f.JobType)
		}
		if f.Status != "" {
			where(` AND r.status = ?`, f.Status)
		}
		others()
	} else {
		wanted := []string{f.Status}
		if f.Status == "" {
			wanted = statuses
		}
		for i, status := range wanted {
			if i > 0 {
				where(` UNION ALL `)
			}
			where(`SELECT r.seq AS seq, r.created_at AS created_at, r.id AS id FROM records r WHERE r.status = ?`,
				status)
			if f.Caller != "" {
				where(` AND r.caller = ?`, f.Caller)
			}
			if f.JobType != "" {
				where(` AND r.job_type = ?`, f.JobType)
			}
			others()
		}
	}
	where(` ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?`, limit, offset)
	return q.String(), args
}
