package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // registers the driver
)

// Config is where a store is and how much it may hold in memory.
type Config struct {
	Dir  string // data_dir; made with mode 0700 when missing
	File string // the database; "" for tsubo.db in Dir
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now

	// SaveBuffer bounds what Save may have waiting: bytes of artifacts, texts and requests. 0: 64
	// MiB.
	SaveBuffer int64
}

// Names in Dir.
const (
	databaseName = "tsubo.db"
	lockName     = "store.lock"
	artifactsDir = "artifacts"
)

const (
	poolSize         = 2
	defaultSaveBytes = 64 << 20
	maxSaves         = 1024
	savers           = 4
)

// Store is an open store.
type Store struct {
	file string
	dir  string
	log  *slog.Logger
	now  func() time.Time
	lock *os.File

	reads  *pool // look-ups
	lists  *pool // what may read much
	writes *sql.DB
	writer *writer
	files  *files
	saves  *saveQueue
	keep   atomic.Pointer[Retention]
	over   chan struct{} // holds one when Purge has work
	swept  chan struct{} // closed when the sweep of Open is over

	workers    sync.WaitGroup  // of savers and the sweep
	background context.Context // ends with the store
	stop       context.CancelFunc
	closeOnce  sync.Once
	closeErr   error
	counts     counts
}

type counts struct{ accepts, operations, commits, syncs, saves, dropped, removed atomic.Int64 }

// Stats counts since Open.
type Stats struct {
	Accepts    int64 // calls of Accept that made a record
	Operations int64 // writes, whatever came of them
	Commits    int64 // transactions that changed something or could have
	Syncs      int64 // those of them with synchronous=FULL
	Saves      int64 // records that Save kept
	Dropped    int64 // records that Save could not keep
	Removed    int64 // artifact files removed
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	return Stats{
		Accepts: s.counts.accepts.Load(), Operations: s.counts.operations.Load(), Commits: s.counts.commits.Load(),
		Syncs: s.counts.syncs.Load(), Saves: s.counts.saves.Load(), Dropped: s.counts.dropped.Load(), Removed: s.counts.removed.Load(),
	}
}

// Open opens the store in cfg.Dir, makes it when there is none, brings its schema up to date and
// removes what a crash left behind (in the background where there may be much of it). One process
// at a time: ErrInUse. A damaged database is ErrCorrupt.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	s := &Store{dir: cfg.Dir, file: cfg.File, log: cfg.Log, now: cfg.Now, over: make(chan struct{}, 1), swept: make(chan struct{})}
	if s.file == "" {
		s.file = filepath.Join(cfg.Dir, databaseName)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
		err = s.sort(err)
	}()

	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	if s.lock, err = lockFile(filepath.Join(s.dir, lockName)); err != nil {
		return nil, err
	}
	undo = append(undo, s.lock.Close)
	if err := removeSnapshots(s.dir); err != nil {
		return nil, err
	}
	if err := createPrivate(s.file); err != nil {
		return nil, err
	}
	if s.files, err = openFiles(filepath.Join(s.dir, artifactsDir)); err != nil {
		return nil, err
	}

	s.writes, err = sql.Open("sqlite", dataSource(s.file, writerPragmas))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", s.file, err)
	}
	undo = append(undo, s.writes.Close)
	s.writes.SetMaxOpenConns(1)
	if err := migrate(ctx, s.writes); err != nil {
		return nil, fmt.Errorf("open database %s: %w", s.file, err)
	}
	for _, p := range []**pool{&s.reads, &s.lists} {
		if *p, err = openPool(ctx, s.file); err != nil {
			return nil, fmt.Errorf("open database %s for reading: %w", s.file, err)
		}
		undo = append(undo, (*p).db.Close)
	}
	if s.writer, err = startWriter(ctx, s); err != nil {
		return nil, err
	}

	s.background, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.saves = newSaveQueue(cfg.SaveBuffer)
	for range savers {
		s.workers.Go(s.saver)
	}
	s.workers.Go(func() {
		defer close(s.swept)
		if _, err := s.Sweep(s.background); err != nil && s.background.Err() == nil {
			s.log.Error("store: sweep of artifacts without a record", "error", err)
		}
	})
	return s, nil
}

// Pragmas of the connections. The page cache is small because the kernel has one; mmap is off
// because its pages would count as ours.
var (
	writerPragmas = []string{
		"busy_timeout(10000)", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(1)",
		"cache_size(-4096)", "mmap_size(0)", "journal_size_limit(16777216)", "wal_autocheckpoint(1000)", "trusted_schema(0)", "cell_size_check(1)",
	}
	readerPragmas = []string{"busy_timeout(10000)", "query_only(1)", "cache_size(-1024)", "mmap_size(0)", "trusted_schema(0)", "cell_size_check(1)"}
)

func dataSource(file string, pragmas []string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}
	u.RawQuery = url.Values{"_pragma": pragmas}.Encode()
	return u.String()
}

// Close ends the store: waits for what Save has waiting and for what is being written, syncs
// everything and folds the log into the database. Calls after it give ErrClosed. It may come twice.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.saves.close()
		s.stop()
		s.workers.Wait()
		var errs []error
		errs = append(errs, s.writer.close(), s.reads.db.Close(), s.lists.db.Close(), s.writes.Close(), s.lock.Close())
		s.closeErr = s.sort(errors.Join(errs...))
	})
	return s.closeErr
}

// Sync makes all that was committed durable, also what did not ask for it.
func (s *Store) Sync(ctx context.Context) error {
	return s.writer.alone(ctx, func(t *tx) error { return t.checkpoint("PASSIVE") })
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// createPrivate makes an empty file of mode 0600 where there is none, takes others' rights off one
// that is there, and reports when what is there cannot be a database. SQLite gives the files beside
// it the same mode.
func createPrivate(path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("make database private: %w", err)
	}
	head := make([]byte, 16)
	switch n, err := io.ReadFull(f, head); {
	case errors.Is(err, io.EOF):
		return syncDir(filepath.Dir(path))
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read database %s: %w", path, err)
	case string(head[:n]) != "SQLite format 3\x00":
		return fmt.Errorf("%w: %s is no SQLite database; stop tsubod and restore a backup", ErrCorrupt, path)
	}
	return nil
}

// removeSnapshots removes what a crash left of a backup.
func removeSnapshots(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, snapshotPrefix+"*"))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func syncDir(path string) (err error) {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}
