package store

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/tsubo-run/tsubo/job"
)

// Errors of a store. All but the last three are package job's, so that consumers need not import
// this package.
var (
	ErrNotFound    = job.ErrNotFound
	ErrFingerprint = job.ErrFingerprint
	ErrNotTerminal = job.ErrNotTerminal
	ErrTerminal    = job.ErrTerminal
	ErrTransition  = job.ErrTransition
	ErrNoSpace     = job.ErrNoSpace

	// ErrCorrupt means that the data on disk is not what the store wrote.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrInUse means that another process has the store open.
	ErrInUse = errors.New("another process has this store open")
	// ErrClosed means that Close has been called.
	ErrClosed = errors.New("the store is closed")
)

// code returns the primary SQLite result code of err, or 0 for none.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// breaksGroup reports whether SQLite may have rolled back the whole transaction, not only the
// statement.
func breaksGroup(err error) bool {
	switch code(err) {
	case codes.SQLITE_FULL, codes.SQLITE_IOERR, codes.SQLITE_NOMEM, codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB,
		codes.SQLITE_BUSY, codes.SQLITE_INTERRUPT, codes.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// sort classifies an error of the driver or of a file as ErrNoSpace or ErrCorrupt. It returns other
// errors unchanged. ErrCorrupt names the file and the remedy.
func (s *Store) sort(err error) error {
	switch code(err) {
	case codes.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		if errors.Is(err, ErrCorrupt) {
			return err
		}
		return fmt.Errorf("%w: database %s: %w; stop tsubod and restore a backup", ErrCorrupt, s.file, err)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
