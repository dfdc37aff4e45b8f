package store

import "github.com/tsubo-run/tsubo/job"

// SetRetention replaces the quotas that Accept, Save and Finish check. Zero fields mean no limit.
// Before the first call there is no limit.
func (s *Store) SetRetention(keep Retention) { s.keep.Store(&keep) }

// Over returns a channel that receives when Purge has work: a write left more than the retention
// allows, or files without a record. The channel is never closed.
func (s *Store) Over() <-chan struct{} { return s.over }

// trim removes the caller's oldest terminal records, except the record with this ID, until the
// caller is within its quota. full reports that only that record and unfinished jobs can still
// exceed the quota.
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
	s.wake() // for the files and the records beyond this step
	seqs, err := t.numbers(`SELECT seq FROM records WHERE caller = ? AND ended_at < ? AND id <> ?
		ORDER BY ended_at LIMIT ?`,
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
	default: // a signal is already pending
	}
}

// errQuota returns the refusal for a caller whose unfinished jobs exceed its quota.
func errQuota() error {
	return job.Refuse(job.NoSpace,
		"Your jobs that have not ended hold all of caller_quota_bytes: wait for some, or cancel them")
}
