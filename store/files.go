package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tsubo-run/tsubo/job"
)

const (
	unfinished = "tmp" // directory of files that are being written
	removeStep = 100   // artifacts removed per step
)

// files is the directory of artifacts: <2 hex digits>/<sha256>, mode 0600. A file is pinned from
// before its write until the row that refers to it is committed or abandoned. A pinned file is
// never removed.
type files struct {
	dir string

	mu   sync.Mutex
	pins map[string]*pin
	held int // running backups; nothing is removed while any runs
}

type pin struct {
	users int
	mu    sync.Mutex
	kept  bool // on disk and synced; guarded by mu
}

// openFiles creates the directory if it is missing and removes unfinished files.
func openFiles(dir string) (*files, error) {
	tmp := filepath.Join(dir, unfinished)
	if err := os.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("remove unfinished artifacts: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return nil, fmt.Errorf("make artifacts folder: %w", err)
	}
	if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		return nil, err
	}
	return &files{dir: dir, pins: map[string]*pin{}}, nil
}

func (f *files) path(digest string) string { return filepath.Join(f.dir, digest[:2], digest) }

func isDigest(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func (f *files) pin(digest string) *pin {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pins[digest]
	if p == nil {
		p = &pin{}
		f.pins[digest] = p
	}
	p.users++
	return p
}

func (f *files) unpin(digests []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range digests {
		p := f.pins[d]
		if p.users--; p.users == 0 {
			delete(f.pins, d)
		}
	}
}

func (f *files) pinned(digest string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pins[digest] != nil
}

// hold prevents the removal of files until release is called.
func (f *files) hold() (release func()) {
	f.mu.Lock()
	f.held++
	f.mu.Unlock()
	return sync.OnceFunc(func() {
		f.mu.Lock()
		f.held--
		f.mu.Unlock()
	})
}

// remove removes the file unless it is pinned or held, or used reports true. No file can be pinned
// while used runs.
func (f *files) remove(digest string, used func() (bool, error)) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pins[digest] != nil || f.held > 0 {
		return false, nil
	}
	if u, err := used(); err != nil || u {
		return false, err
	}
	if err := os.Remove(f.path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("remove artifact: %w", err)
	}
	return true, nil
}

// write atomically writes data to its place: temporary file, sync, rename, sync of the directory.
// It replaces an existing file.
func (f *files) write(digest string, data []byte) (err error) {
	place := f.path(digest)
	folder := filepath.Dir(place)
	switch err := os.Mkdir(folder, 0o700); {
	case err == nil:
		if err := syncDir(f.dir); err != nil {
			return errors.Join(err, os.Remove(folder))
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("make artifacts folder: %w", err)
	}
	temporary := filepath.Join(f.dir, unfinished, rand.Text())
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write artifact: %w", err)
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(temporary, place)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write artifact of %d bytes: %w", len(data), err),
			ignoreMissing(os.Remove(temporary)))
	}
	return syncDir(folder)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// refsOf returns references to artifacts with the digests that they claim.
func refsOf(artifacts []job.Artifact) []job.ArtifactRef {
	var refs []job.ArtifactRef
	for _, a := range artifacts {
		refs = append(refs, job.ArtifactRef{Name: a.Name, Size: int64(len(a.Data)), SHA256: a.SHA256})
	}
	return refs
}

// keepFiles writes and syncs the artifacts' files, named by the digests of their bytes. An artifact
// that claims a different digest is an error. The files stay pinned until done is called. done is
// never nil; its argument reports whether a row that refers to the files is committed. If not, done
// removes files without a row.
func (s *Store) keepFiles(
	ctx context.Context, artifacts []job.Artifact,
) (refs []job.ArtifactRef, done func(committed bool), err error) {
	var pinned []string
	done = func(committed bool) {
		s.files.unpin(pinned)
		if !committed {
			s.removeUnknown(pinned)
		}
	}
	for _, a := range artifacts {
		if err := ctx.Err(); err != nil {
			return nil, done, context.Cause(ctx)
		}
		sum := sha256.Sum256(a.Data)
		digest := hex.EncodeToString(sum[:])
		if a.SHA256 != "" && a.SHA256 != digest {
			return nil, done,
				fmt.Errorf("artifact of %d bytes has digest %s, not the one that came with it", len(a.Data), digest)
		}
		p := s.files.pin(digest)
		pinned = append(pinned, digest)
		if err := s.keepFile(ctx, p, digest, a.Data); err != nil {
			return nil, done, s.sort(err)
		}
		refs = append(refs, job.ArtifactRef{Name: a.Name, Size: int64(len(a.Data)), SHA256: digest})
	}
	return refs, done, nil
}

// removeUnknown removes files that have no row. The next Sweep retries failures.
func (s *Store) removeUnknown(digests []string) {
	for _, digest := range digests {
		removed, err := s.files.remove(digest, func() (bool, error) { return s.knows(context.Background(), digest) })
		if err != nil {
			s.log.Error("store: remove an artifact that no record came to refer to", "error", err)
		}
		if removed {
			s.counts.removed.Add(1)
		}
	}
}

// keepFile writes the file of a pin unless the file is already on disk and synced. It is if this
// pin wrote it, or if it has a row, since a row is never committed before its file.
func (s *Store) keepFile(ctx context.Context, p *pin, digest string, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept {
		return nil
	}
	known, err := s.knows(ctx, digest)
	if err != nil {
		return err
	}
	if known {
		info, err := os.Lstat(s.files.path(digest))
		known = err == nil && info.Mode().IsRegular() && info.Size() == int64(len(data))
	}
	if !known {
		if err := s.files.write(digest, data); err != nil {
			return err
		}
	}
	p.kept = true
	return nil
}

// knows reports whether the digest has a row, even with no references.
func (s *Store) knows(ctx context.Context, digest string) (bool, error) {
	var one int
	err := s.one(ctx, `SELECT 1 FROM artifacts WHERE sha256 = ?`, []any{digest}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Open opens an artifact for reading. The caller closes the file. It returns ErrNotFound if digest
// is not stored or not a digest.
func (s *Store) Open(_ context.Context, digest string) (*os.File, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("open artifact: %w", ErrNotFound)
	}
	f, err := os.OpenFile(s.files.path(digest), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open artifact: %w", ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	return f, nil
}

// removeUnused removes up to limit files that no record refers to, then their rows.
func (s *Store) removeUnused(ctx context.Context, limit int) (removed int, err error) {
	unused, err := s.strings(ctx, `SELECT sha256 FROM artifacts WHERE refs = 0 LIMIT ?`, limit)
	if err != nil {
		return 0, fmt.Errorf("list unused artifacts: %w", err)
	}
	var gone []string
	for _, digest := range unused {
		ok, err := s.files.remove(digest, func() (bool, error) {
			var refs int
			err := s.one(ctx, `SELECT refs FROM artifacts WHERE sha256 = ?`, []any{digest}, &refs)
			if errors.Is(err, sql.ErrNoRows) {
				return false, nil
			}
			return refs > 0, err
		})
		if err != nil {
			return 0, err
		}
		if ok {
			gone = append(gone, digest)
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	err = s.write(ctx, false, func(t *tx) error {
		for _, digest := range gone {
			if _, err := t.exec(`DELETE FROM artifacts WHERE sha256 = ? AND refs = 0`, digest); err != nil {
				return err
			}
		}
		return nil
	})
	s.counts.removed.Add(int64(len(gone)))
	return len(gone), err
}

// Sweep removes artifact files without a row, which a crash can leave behind. Open starts Sweep in
// the background.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	err = s.eachUnknown(ctx, func(digest string) error {
		ok, err := s.files.remove(digest, func() (bool, error) { return s.knows(ctx, digest) })
		if ok {
			removed++
		}
		return err
	})
	s.counts.removed.Add(int64(removed))
	return removed, err
}

// eachUnknown calls do for artifact files that had no row when their directory was read; a row may
// have been added since. Files that are not named like an artifact are ignored.
func (s *Store) eachUnknown(ctx context.Context, do func(digest string) error) error {
	for i := range 256 {
		prefix := fmt.Sprintf("%02x", i)
		names, err := folderNames(filepath.Join(s.files.dir, prefix))
		if err != nil {
			return fmt.Errorf("read artifacts folder: %w", err)
		}
		if len(names) == 0 {
			continue
		}
		rows, err := s.strings(ctx, `SELECT sha256 FROM artifacts WHERE sha256 >= ? AND sha256 < ? ORDER BY sha256`,
			prefix, prefix+"g")
		if err != nil {
			return err
		}
		for _, name := range names {
			if _, known := slices.BinarySearch(rows, name); known || !isDigest(name) || name[:2] != prefix {
				continue
			}
			if err := do(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func folderNames(path string) (names []string, err error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Readdirnames(-1)
}
