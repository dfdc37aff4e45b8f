package store

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/tsubo-run/tsubo/job"
)

// Errors of a store; all but the last three are package job's, so that consumers need not know this
// package.
var (
	ErrNotFound    = job.ErrNotFound
	ErrFingerprint = job.ErrFingerprint
	ErrNotTerminal = job.ErrNotTerminal
	ErrTerminal    = job.ErrTerminal
	ErrTransition  = job.ErrTransition
	ErrNoSpace     = job.ErrNoSpace

	// ErrCorrupt: what is on disk is not what was written there.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrInUse: another process has the store open.
	ErrInUse = errors.New("another process has this store open")
	// ErrClosed: Close has been called.
	ErrClosed = errors.New("the store is closed")
)

// code is the primary result code of SQLite in err, 0 for none.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// breaksGroup reports that SQLite may have rolled the whole transaction back, not the statement
// alone.
func breaksGroup(err error) bool {
	switch code(err) {
	case codes.SQLITE_FULL, codes.SQLITE_IOERR, codes.SQLITE_NOMEM, codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB,
		codes.SQLITE_BUSY, codes.SQLITE_INTERRUPT, codes.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// sort puts an error of the driver or of a file into its kind: ErrNoSpace, ErrCorrupt (naming the
// file and what helps), or as it is.
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
