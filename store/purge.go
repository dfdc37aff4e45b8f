package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tsubo-run/tsubo/job"
)

// purgeStep is the number of records that one transaction of Purge removes. Small steps keep other
// writes from waiting.
const purgeStep = 100

// Retention limits what [Store.Purge] leaves.
type Retention = job.Retention

// PurgeResult counts what [Store.Purge] removed.
type PurgeResult = job.PurgeResult

// Bytes returns the number of bytes stored for a caller, or for all callers if caller is empty. It
// counts records, texts, requests, and each artifact once per record, even if records share a file.
func (s *Store) Bytes(ctx context.Context, caller string) (n int64, err error) {
	if caller == "" {
		err = s.one(ctx, `SELECT coalesce(sum(bytes), 0) FROM callers`, nil, &n)
	} else {
		err = s.one(ctx, `SELECT coalesce(sum(bytes), 0) FROM callers WHERE caller = ?`, []any{caller}, &n)
	}
	return n, wrap("count bytes of", caller, err)
}

type usage struct {
	caller         string
	bytes, settled int64
}

func (s *Store) usages(ctx context.Context) (all []usage, err error) {
	err = s.each(ctx, s.lists, `SELECT caller, bytes, settled FROM callers ORDER BY caller`, nil,
		func(rows *sql.Rows) error {
			var u usage
			err := rows.Scan(&u.caller, &u.bytes, &u.settled)
			all = append(all, u)
			return err
		})
	return all, err
}

// Purge removes data beyond the retention in small durable steps, oldest results first. It purges
// by age, then each caller over its own limit, then by the total.
//
// Over the total, callers that grew since the last compliant purge pay first, largest growth first,
// and at most their growth rounded up to a whole record. Only if no caller grew, because an
// operator lowered the limit, does the largest caller lose results.
//
// Unfinished jobs are never removed. Purge finally removes unreferenced files and returns free
// pages to the file system. ctx is checked between steps.
func (s *Store) Purge(ctx context.Context, keep Retention) (done PurgeResult, err error) {
	all, err := s.usages(ctx)
	if err != nil {
		return done, fmt.Errorf("purge: %w", err)
	}
	if keep.Records > 0 {
		before := s.now().Add(-keep.Records).UnixNano()
		for _, u := range all {
			if err := s.removeOldest(ctx, &done, u.caller, before, func(int64) bool { return true }); err != nil {
				return done, fmt.Errorf("purge by age: %w", err)
			}
		}
	}
	if keep.DeadLetters > 0 {
		if err := s.purgeDead(ctx, &done, s.now().Add(-keep.DeadLetters).UnixNano()); err != nil {
			return done, fmt.Errorf("purge dead letters: %w", err)
		}
	}
	if keep.CallerBytes > 0 {
		for _, u := range all {
			if err := s.removeOldest(ctx, &done, u.caller, ever,
				func(has int64) bool { return has > keep.CallerBytes }); err != nil {
				return done, fmt.Errorf("purge to the caller's limit: %w", err)
			}
		}
	}
	if keep.TotalBytes > 0 {
		if err := s.purgeTotal(ctx, &done, keep.TotalBytes); err != nil {
			return done, fmt.Errorf("purge to the limit of all: %w", err)
		}
	}
	for {
		n, err := s.removeUnused(ctx, removeStep)
		done.Artifacts += n
		if err != nil {
			return done, fmt.Errorf("purge artifacts: %w", err)
		}
		if n < removeStep {
			break
		}
	}
	return done, s.shrink(ctx)
}

// ever is later than any end time.
const ever = int64(1<<63 - 1)

// removeOldest removes a caller's terminal records that ended before a time, oldest first, while
// more returns true for the caller's remaining bytes.
func (s *Store) removeOldest(ctx context.Context, done *PurgeResult, caller string, before int64,
	more func(has int64) bool) error {
	for {
		var removed int
		last := true
		err := s.write(ctx, true, func(t *tx) error {
			removed, last = 0, true
			seqs, err := t.numbers(
				`SELECT seq FROM records WHERE caller = ? AND ended_at < ? ORDER BY ended_at LIMIT ?`, caller, before,
				purgeStep)
			if err != nil {
				return err
			}
			for _, seq := range seqs {
				var has int64
				if err := t.one(`SELECT bytes FROM callers WHERE caller = ?`, []any{caller}, &has); err != nil {
					return err
				}
				if !more(has) {
					return nil
				}
				if _, err := t.exec(`DELETE FROM records WHERE seq = ?`, seq); err != nil {
					return err
				}
				removed++
			}
			last = len(seqs) < purgeStep
			return nil
		})
		if err != nil {
			return err
		}
		done.Records += removed
		if last {
			return nil
		}
	}
}

func (s *Store) purgeDead(ctx context.Context, done *PurgeResult, before int64) error {
	for {
		var n int64
		err := s.write(ctx, true, func(t *tx) (err error) {
			n, err = t.exec(
				`DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters 
				WHERE created_at < ? ORDER BY created_at LIMIT ?)`,
				before, purgeStep)
			return err
		})
		if err != nil {
			return err
		}
		done.DeadLetters += int(n)
		if n < purgeStep {
			return nil
		}
	}
}

func (s *Store) purgeTotal(ctx context.Context, done *PurgeResult, limit int64) error {
	all, err := s.usages(ctx)
	if err != nil {
		return err
	}
	settled := map[string]int64{}
	for _, u := range all {
		settled[u.caller] = u.settled
	}
	spent := map[string]bool{} // callers without any removable record
	for {
		all, err := s.usages(ctx)
		if err != nil {
			return err
		}
		var total int64
		for _, u := range all {
			total += u.bytes
		}
		if total <= limit {
			return s.settleCallers(ctx)
		}
		from, floor := whoPays(all, settled, spent)
		if from == "" {
			return nil // only unfinished jobs are left, or results of callers that did not grow
		}
		// One step at a time, so that callers with equal growth pay equally.
		step, first := max((total-limit)/int64(len(all)), 1), int64(-1)
		before := done.Records
		err = s.removeOldest(ctx, done, from, ever, func(has int64) bool {
			if first < 0 {
				first = has
			}
			return has > floor && has > first-step && total-(first-has) > limit
		})
		if err != nil {
			return err
		}
		if done.Records == before {
			spent[from] = true
		}
	}
}

// settleCallers records each caller's bytes while the total is within its limit.
func (s *Store) settleCallers(ctx context.Context) error {
	return s.write(ctx, false, func(t *tx) error {
		if _, err := t.exec(
			`DELETE FROM callers WHERE bytes = 0
				AND NOT EXISTS (SELECT 1 FROM records r WHERE r.caller = callers.caller)`); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE callers SET settled = bytes WHERE settled <> bytes`)
		return err
	})
}

// whoPays returns the next caller to purge and the size at which to stop, or "" for none.
func whoPays(all []usage, settled map[string]int64, spent map[string]bool) (caller string, floor int64) {
	var most int64
	somebodyGrew := false
	for _, u := range all {
		grown := u.bytes - settled[u.caller]
		somebodyGrew = somebodyGrew || grown > 0
		if grown > most && !spent[u.caller] {
			caller, floor, most = u.caller, settled[u.caller], grown
		}
	}
	if somebodyGrew {
		return caller, floor
	}
	for _, u := range all {
		if u.bytes > most && !spent[u.caller] {
			caller, most = u.caller, u.bytes
		}
	}
	return caller, 0
}

// shrink returns free pages to the file system, in small steps, while they exceed a quarter of the
// file.
func (s *Store) shrink(ctx context.Context) error {
	for {
		var pages, free int64
		err := s.writer.alone(ctx, func(t *tx) error {
			if err := t.one("PRAGMA page_count", nil, &pages); err != nil {
				return err
			}
			if err := t.one("PRAGMA freelist_count", nil, &free); err != nil {
				return err
			}
			if free*4 <= pages || free < 1024 {
				free = 0
				return nil
			}
			_, err := t.exec("PRAGMA incremental_vacuum(1024)")
			return err
		})
		if err != nil {
			return fmt.Errorf("shrink database: %w", err)
		}
		if free == 0 {
			return nil
		}
	}
}
