package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// maxFindings limits the findings that Check and WriteBackup list.
const maxFindings = 20

// damaged returns ErrCorrupt with the findings, or nil if there are none.
func damaged(findings []error) error {
	if len(findings) == 0 {
		return nil
	}
	if more := len(findings) - maxFindings; more > 0 {
		findings = append(findings[:maxFindings:maxFindings], fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, errors.Join(findings...))
}

// Check reads the whole store. It runs SQLite's integrity checks, verifies the sums that the
// triggers maintain, checks that every artifact exists and has its digest, and looks for files
// without a row. ErrCorrupt lists the findings. Check may run while the store is in use.
func (s *Store) Check(ctx context.Context) error {
	select { // leftovers of a crash are not damage
	case <-s.swept:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var findings []error
	found := func(format string, args ...any) { findings = append(findings, fmt.Errorf(format, args...)) }

	answers, err := s.strings(ctx, `PRAGMA integrity_check(20)`)
	if err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	for _, a := range answers {
		if a != "ok" {
			found("integrity_check: %s", a)
		}
	}
	if len(findings) > 0 {
		return fmt.Errorf("database %s: %w; stop tsubod and restore a backup", s.file, damaged(findings))
	}
	for _, c := range []struct{ what, query string }{
		{"row of %s refers to nothing", `SELECT "table" FROM pragma_foreign_key_check LIMIT 20`},
		{"artifact %s has a wrong count of references", `SELECT sha256 FROM artifacts a WHERE refs <>
			(SELECT count(*) FROM artifact_refs f WHERE f.sha256 = a.sha256) LIMIT 20`},
		{"caller %q has a wrong sum of bytes", `WITH
			own AS (SELECT caller, sum(own_bytes) AS n FROM records GROUP BY caller),
			art AS (SELECT r.caller AS caller, sum(f.charged) AS n FROM artifact_refs f
				JOIN records r ON r.seq = f.seq GROUP BY r.caller)
			SELECT caller FROM callers c WHERE bytes <> coalesce((SELECT n FROM own WHERE own.caller = c.caller), 0)
				+ coalesce((SELECT n FROM art WHERE art.caller = c.caller), 0) LIMIT 20`},
		{"record %s has no row for its caller",
			`SELECT id FROM records r WHERE NOT EXISTS (SELECT 1 FROM callers c WHERE c.caller = r.caller) LIMIT 20`},
	} {
		bad, err := s.strings(ctx, c.query)
		if err != nil {
			return fmt.Errorf("check the database: %w", err)
		}
		for _, b := range bad {
			found(c.what, b)
		}
	}
	if err := s.checkFiles(ctx, found); err != nil {
		return fmt.Errorf("check artifacts: %w", err)
	}
	return damaged(findings)
}

func (s *Store) checkFiles(ctx context.Context, found func(string, ...any)) error {
	defer s.files.hold()()
	// Keyset pages keep read transactions short while files are hashed.
	type row struct {
		digest string
		size   int64
	}
	for after, full := "", true; full; {
		var page []row
		err := s.each(ctx, s.lists,
			`SELECT sha256, size FROM artifacts WHERE sha256 > ? AND refs > 0 ORDER BY sha256 LIMIT 500`, []any{after},
			func(rows *sql.Rows) error {
				var r row
				err := rows.Scan(&r.digest, &r.size)
				page = append(page, r)
				return err
			})
		if err != nil {
			return err
		}
		for _, r := range page {
			size, sum, err := s.hash(ctx, r.digest)
			switch {
			case errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound):
				found("artifact %s is missing", r.digest)
			case err != nil:
				return err
			case sum != r.digest || size != r.size:
				found("artifact %s has changed: %d bytes where %d were stored", r.digest, size, r.size)
			}
			after = r.digest
		}
		full = len(page) == 500
	}
	return s.eachUnknown(ctx, func(digest string) error {
		if s.files.pinned(digest) {
			return nil // its row is not committed yet
		}
		known, err := s.knows(ctx, digest)
		if err == nil && !known && !s.files.pinned(digest) {
			found("artifact file %s belongs to no record", digest)
		}
		return err
	})
}

func (s *Store) hash(ctx context.Context, digest string) (size int64, sum string, err error) {
	if err := ctx.Err(); err != nil {
		return 0, "", context.Cause(ctx)
	}
	f, err := s.Open(ctx, digest)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}
