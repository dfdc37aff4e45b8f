package store

import "github.com/tsubo-run/tsubo/job"

// SetRetention replaces the quotas that Accept, Save and Finish check. Zero fields bound nothing,
// as before the first call.
func (s *Store) SetRetention(keep Retention) { s.keep.Store(&keep) }

// Over receives after a write that left more than the retention keeps, or files without a record:
// Purge has work. It is never closed.
func (s *Store) Over() <-chan struct{} { return s.over }

// trim removes the caller's oldest terminal records, but the one with this id, until the caller is
// within its quota. It reports whether what is left over the quota can only be that record and jobs
// that have not ended.
func (s *Store) trim(t *tx, caller, id string) (full bool, err error) {
	keep := s.keep.Load()
	if keep == nil {
		return false, nil
	}
	if keep.CallerBytes > 0 {
		if full, err = s.trimCaller(t, caller, id, keep.CallerBytes); err != nil {
			return false, err
		}
	}
	if keep.TotalBytes > 0 {
		var total int64
		if err := t.one(`SELECT coalesce(sum(bytes), 0) FROM callers`, nil, &total); err != nil {
			return false, err
		}
		if total > keep.TotalBytes {
			s.wake()
		}
	}
	return full, nil
}

func (s *Store) trimCaller(t *tx, caller, id string, limit int64) (full bool, err error) {
	has := func() (n int64, err error) {
		return n, t.one(`SELECT coalesce(sum(bytes), 0) FROM callers WHERE caller = ?`, []any{caller}, &n)
	}
	n, err := has()
	if err != nil || n <= limit {
		return false, err
	}
	s.wake() // for the files, and for what one step leaves
	seqs, err := t.numbers(`SELECT seq FROM records WHERE caller = ? AND ended_at < ? AND id <> ? ORDER BY ended_at LIMIT ?`,
		caller, ever, id, purgeStep)
	if err != nil {
		return false, err
	}
	for _, seq := range seqs {
		if _, err := t.exec(`DELETE FROM records WHERE seq = ?`, seq); err != nil {
			return false, err
		}
		if n, err = has(); err != nil || n <= limit {
			return false, err
		}
	}
	return len(seqs) < purgeStep, nil
}

func (s *Store) wake() {
	select {
	case s.over <- struct{}{}:
	default: // one is waiting already
	}
}

// errQuota refuses a job whose caller has more than its quota in jobs that have not ended.
func errQuota() error {
	return job.Refuse(job.NoSpace, "Your jobs that have not ended hold all of caller_quota_bytes: wait for some, or cancel them")
}
