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

// Config configures a [Store].
type Config struct {
	Dir  string // data_dir; created with mode 0700 if missing
	File string // the database; empty means tsubo.db in Dir
	Log  *slog.Logger
	Now  func() time.Time // nil means time.Now

	// SaveBuffer limits the pending data of Save, in bytes of artifacts, texts and requests. Zero
	// means 64 MiB.
	SaveBuffer int64
}

// Names of files in Config.Dir.
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

// Store is an open store. It is safe for concurrent use.
type Store struct {
	file string
	dir  string
	log  *slog.Logger
	now  func() time.Time
	lock *os.File

	reads  *pool // look-ups
	lists  *pool // listings, which may read much
	writes *sql.DB
	writer *writer
	files  *files
	saves  *saveQueue
	keep   atomic.Pointer[Retention]
	over   chan struct{} // signals that Purge has work; capacity 1
	swept  chan struct{} // closed when Open's sweep has ended

	workers    sync.WaitGroup  // savers and the sweep
	background context.Context // ends with the store
	stop       context.CancelFunc
	closeOnce  sync.Once
	closeErr   error
	counts     counts
}

type counts struct{ accepts, operations, commits, syncs, saves, dropped, removed atomic.Int64 }

// Stats holds counts since [Open].
type Stats struct {
	Accepts    int64 // calls of Accept that stored a record
	Operations int64 // writes, successful or not
	Commits    int64 // transactions that changed something or could have
	Syncs      int64 // commits with synchronous=FULL
	Saves      int64 // records that Save stored
	Dropped    int64 // records that Save lost
	Removed    int64 // artifact files removed
}

// Stats returns the counts since [Open].
func (s *Store) Stats() Stats {
	return Stats{
		Accepts: s.counts.accepts.Load(), Operations: s.counts.operations.Load(), Commits: s.counts.commits.Load(),
		Syncs: s.counts.syncs.Load(), Saves: s.counts.saves.Load(), Dropped: s.counts.dropped.Load(),
		Removed: s.counts.removed.Load(),
	}
}

// Open opens or creates the store in cfg.Dir, migrates its schema and removes leftovers of a crash,
// the artifact files in the background. It returns ErrInUse if another process has the store open,
// and ErrCorrupt if the database is damaged. The caller must call Close.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	s := &Store{dir: cfg.Dir, file: cfg.File, log: cfg.Log, now: cfg.Now, over: make(chan struct{}, 1),
		swept: make(chan struct{})}
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

// Pragmas of the connections. The page cache is small because the kernel has a cache. mmap is off
// because mapped pages would count as the daemon's memory.
var (
	writerPragmas = []string{
		"busy_timeout(10000)", "auto_vacuum(incremental)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(1)",
		"cache_size(-4096)", "mmap_size(0)", "journal_size_limit(16777216)", "wal_autocheckpoint(1000)",
		"trusted_schema(0)", "cell_size_check(1)",
	}
	readerPragmas = []string{"busy_timeout(10000)", "query_only(1)", "cache_size(-1024)", "mmap_size(0)",
		"trusted_schema(0)", "cell_size_check(1)"}
)

func dataSource(file string, pragmas []string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}
	u.RawQuery = url.Values{"_pragma": pragmas}.Encode()
	return u.String()
}

// Close waits for pending saves and writes, syncs everything, checkpoints the log into the database
// and closes the store. Later calls of other methods return ErrClosed. Close is idempotent.
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

// Sync makes all committed writes durable.
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

// createPrivate creates an empty file with mode 0600 or restricts an existing file to that mode. It
// returns an error if the file cannot be a database. SQLite gives its companion files the same
// mode.
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

// removeSnapshots removes the database copies of interrupted backups.
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
