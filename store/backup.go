package store

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const snapshotPrefix = ".snapshot-" // prefix of WriteBackup's database copies

// Backup atomically writes a backup to path and replaces an existing file. It writes a temporary
// file in the same directory, syncs it and renames it. If the error is ErrCorrupt, the backup is in
// place but lacks the damaged artifacts.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	temporary := path + "." + rand.Text()
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { err = s.sort(errors.Join(err, ignoreMissing(os.Remove(temporary)))) }()
	damage := s.WriteBackup(ctx, f)
	if damage != nil && !errors.Is(damage, ErrCorrupt) {
		return errors.Join(damage, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("backup to %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return errors.Join(damage, syncDir(filepath.Dir(path)))
}

// WriteBackup writes a tar stream with a consistent copy of the database and every artifact that
// the copy refers to. The store stays usable, but no artifact file is removed until WriteBackup
// returns. The store's directory needs room for a copy of the database.
//
// To restore: stop tsubod, move the store's directory (Config.Dir) away, recreate the directory
// with mode 0700, unpack the stream there as root (tar -xf FILE -C DIR), start tsubod.
//
// ErrCorrupt lists artifacts that are missing or changed; everything else is in the stream.
func (s *Store) WriteBackup(ctx context.Context, w io.Writer) (err error) {
	defer s.files.hold()()
	snapshot := filepath.Join(s.dir, snapshotPrefix+rand.Text())
	defer func() { err = s.sort(errors.Join(err, ignoreMissing(os.Remove(snapshot)))) }()
	if err := createPrivate(snapshot); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := s.copyDatabase(ctx, snapshot); err != nil {
		return fmt.Errorf("backup: copy the database: %w", err)
	}
	buffered := bufio.NewWriterSize(w, 1<<16)
	out := tar.NewWriter(buffered)
	if _, err := addFile(out, snapshot, databaseName); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	copied, err := sql.Open("sqlite", dataSource(snapshot, []string{"query_only(1)", "cache_size(-1024)"}))
	if err != nil {
		return fmt.Errorf("backup: read the copy: %w", err)
	}
	defer func() { err = errors.Join(err, copied.Close()) }()
	var damage []error
	err = s.eachRow(func(rows *sql.Rows) error {
		var digest string
		if err := rows.Scan(&digest); err != nil {
			return err
		}
		sum, err := addFile(out, s.files.path(digest), artifactsDir+"/"+digest[:2]+"/"+digest)
		switch {
		case errors.Is(err, os.ErrNotExist):
			damage = append(damage, fmt.Errorf("artifact %s is missing", digest))
		case err != nil:
			return err
		case sum != digest:
			damage = append(damage, fmt.Errorf("artifact %s has changed", digest))
		}
		return nil
	}, func() (*sql.Rows, error) {
		return copied.QueryContext(ctx, `SELECT sha256 FROM artifacts WHERE refs > 0 ORDER BY sha256`)
	})
	if err != nil {
		return fmt.Errorf("backup: copy artifacts: %w", err)
	}
	if err := errors.Join(out.Close(), buffered.Flush()); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return damaged(damage)
}

// copyDatabase writes a compact, consistent copy of the database to an empty file.
func (s *Store) copyDatabase(ctx context.Context, to string) (err error) {
	db, err := sql.Open("sqlite",
		dataSource(s.file, []string{"busy_timeout(10000)", "cache_size(-1024)", "mmap_size(0)"}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, to)
	return err
}

// addFile copies a regular file into the archive and returns the digest of the copied bytes.
func addFile(out *tar.Writer, path, name string) (digest string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o600,
		ModTime: info.ModTime()}); err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, sum), f); err != nil {
		return "", fmt.Errorf("copy %s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
