package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tsubo-run/tsubo/job"
)

// Finish durably makes a job terminal, stores its artifacts, and sets *rec to the stored record.
// Fields known when the job was accepted or started keep their values (wire.md 2.5). It returns
// ErrTerminal if the job has already ended. A zero EndedAt is set to now. On error nothing is
// stored, and Finish may be called again.
func (s *Store) Finish(ctx context.Context, rec *job.Record, artifacts []job.Artifact) error {
	if !rec.Status.Terminal() {
		return fmt.Errorf("finish %s as %q: %w", rec.ID, rec.Status, ErrTransition)
	}
	var now job.Status
	if err := s.one(ctx, `SELECT status FROM records WHERE id = ?`, []any{rec.ID}, &now); err != nil {
		return wrap("finish", rec.ID, missing(err))
	}
	if err := allow(now, rec.Status); err != nil { // before any file is written
		return wrap("finish", rec.ID, err)
	}
	var merged *job.Record
	refs, done, err := s.keepFiles(ctx, artifacts)
	defer func() { done(merged != nil) }()
	if err != nil {
		return wrap("finish", rec.ID, err)
	}
	err = s.write(ctx, true, func(t *tx) error {
		merged = nil
		next := *rec
		next.Artifacts = refs
		if next.EndedAt.IsZero() {
			next.EndedAt = s.now().UTC()
		}
		if err := finish(t, &next); err != nil {
			return err
		}
		if _, err := s.trim(t, next.Caller, next.ID); err != nil {
			return err
		}
		merged = &next
		return nil
	})
	if err != nil {
		return wrap("finish", rec.ID, err)
	}
	*rec = *merged
	return nil
}

func finish(t *tx, next *job.Record) error {
	st, err := t.prepare(`SELECT ` + columns + `, r.seq FROM records r WHERE r.id = ?`)
	if err != nil {
		return err
	}
	var seq int64
	old, err := scanRecord(st.QueryRowContext(context.Background(), next.ID), &seq)
	if err != nil {
		return missing(err)
	}
	if err := allow(old.Status, next.Status); err != nil {
		return err
	}
	keepFirst(next, old)
	keep, err := restOf(next)
	if err != nil {
		return err
	}
	var asked int64
	if err := t.one(`SELECT length(body) + coalesce(length(input), 0) FROM requests WHERE seq = ?`, []any{seq},
		&asked); err != nil &&
		!errors.Is(err, sql.ErrNoRows) {
		return err
	}
	own := asked + int64(len(keep)+len(next.Stdout)+len(next.Stderr)+len(next.Output))
	if _, err := t.exec(`UPDATE records SET status = ?2, job_type = ?3, attempt = ?4, worker = ?5, lease = NULL,
			dequeued_at = ?6, started_at = ?7,
			ended_at = ?8, own_bytes = ?9, rest = ?10 WHERE seq = ?1`,
		seq, string(next.Status), next.JobType, next.Attempt, orNull(next.WorkerID), nanos(next.DequeuedAt),
		nanos(next.StartedAt),
		nanos(next.EndedAt), own, keep); err != nil {
		return err
	}
	if err := writeTexts(t, seq, next); err != nil {
		return err
	}
	return writeRefs(t, seq, next.Artifacts)
}

// keepFirst copies to next the fields of old that must not change.
func keepFirst(next, old *job.Record) {
	next.Caller, next.Async, next.CreatedAt = old.Caller, old.Async, old.CreatedAt
	next.IdempotencyKey, next.Fingerprint, next.Metadata = old.IdempotencyKey, old.Fingerprint, old.Metadata
	next.JobType = cmp.Or(next.JobType, old.JobType)
	next.JobRef = cmp.Or(old.JobRef, next.JobRef)
	next.MaxTries = cmp.Or(old.MaxTries, next.MaxTries)
	next.Attempt = max(next.Attempt, old.Attempt)
	next.WorkerID = cmp.Or(next.WorkerID, old.WorkerID)
	next.CodeHash, next.InputHash = cmp.Or(old.CodeHash, next.CodeHash), cmp.Or(old.InputHash, next.InputHash)
	next.ClientIP, next.CorrelationID = cmp.Or(old.ClientIP, next.ClientIP),
		cmp.Or(old.CorrelationID, next.CorrelationID)
	next.ParentID, next.Relationship = cmp.Or(old.ParentID, next.ParentID), cmp.Or(old.Relationship, next.Relationship)
	if !old.DequeuedAt.IsZero() {
		next.DequeuedAt = old.DequeuedAt
	}
	if next.InputArtifacts == nil {
		next.InputArtifacts = old.InputArtifacts
	}
}

// writeRefs links a record to its artifact files, which must be on disk and pinned.
func writeRefs(t *tx, seq int64, refs []job.ArtifactRef) error {
	charged := map[string]int64{}
	for _, a := range refs {
		charged[a.SHA256] += a.Size
	}
	for _, a := range refs {
		bytes, first := charged[a.SHA256]
		if !first {
			continue
		}
		delete(charged, a.SHA256)
		if _, err := t.exec(`INSERT INTO artifacts (sha256, size) VALUES (?,?) ON CONFLICT DO NOTHING`, a.SHA256,
			a.Size); err != nil {
			return fmt.Errorf("insert artifact %s: %w", a.SHA256, err)
		}
		if _, err := t.exec(`INSERT INTO artifact_refs (seq, sha256, charged) VALUES (?,?,?)`, seq, a.SHA256,
			bytes); err != nil {
			return fmt.Errorf("refer to artifact %s: %w", a.SHA256, err)
		}
	}
	return nil
}

// Delete durably removes a terminal record with its request, idempotency key, and the files to
// which no other record refers.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := s.saves.wait(ctx, func(p *pendingSave) bool { return p.rec.ID == id }); err != nil {
		return err
	}
	err := s.write(ctx, true, func(t *tx) error {
		var seq int64
		var status job.Status
		if err := t.one(`SELECT seq, status FROM records WHERE id = ?`, []any{id}, &seq, &status); err != nil {
			return missing(err)
		}
		if !status.Terminal() {
			return fmt.Errorf("it is %s: %w", status, ErrNotTerminal)
		}
		_, err := t.exec(`DELETE FROM records WHERE seq = ?`, seq)
		return err
	})
	if err != nil {
		return wrap("delete", id, err)
	}
	if _, err := s.removeUnused(ctx, removeStep); err != nil && ctx.Err() == nil {
		s.log.Error("store: remove artifacts of a deleted record", "error", err) // Purge retries
	}
	return nil
}
