package rootfs

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind of a root.
type Kind = string

// The kinds, as job.Image.Rootfs and job.Enforced.Rootfs name them.
const (
	EROFS     Kind = "erofs"
	Directory Kind = "directory"
)

// Root is one read-only root.
type Root struct {
	Key    string // what it was built under: a manifest digest, or the caller's own key
	Kind   Kind
	Path   string // of the EROFS image file, or of the directory; host path, never shown to a caller
	Size   int64  // bytes that it takes on disk
	SHA256 string // of the EROFS image file, hex; "" for a directory
}

// Options of a Store.
type Options struct {
	// MkfsErofs is the program that makes EROFS images; "" looks on PATH. If there is none, or it
	// is known to write bad images, roots are directories.
	MkfsErofs string
	Limits    Limits
	// IDBase is the first host uid and gid of the range of 65536 that layers are unpacked under;
	// nothing else on the host may use it. Default 1<<20; at least 65536.
	IDBase uint32
	// Parallel is how many roots are built at once, default 1.
	Parallel int
	// Leaf makes a cgroup v2 leaf for one child and returns its directory and what removes it; nil:
	// children stay in the daemon's.
	Leaf   func(context.Context) (dir *os.File, release func() error, err error)
	Logger *slog.Logger // default slog.Default()
}

// Store keeps roots. Safe for concurrent use; one process at a time per directory, which the caller
// sees to by its lock on the state directory.
type Store struct {
	dir  string
	opts Options
	log  *slog.Logger
	tool tool
	slot chan struct{} // one per build that may run

	mu     sync.Mutex
	roots  map[string]Root
	leases map[string]int
	builds map[string]*build
	live   map[string]bool // names in staging that are in use
}

// record is root.json.
type record struct {
	Format    int       `json:"format"`
	Key       string    `json:"key"`
	Kind      Kind      `json:"kind"`
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256,omitempty"`
	Entries   int       `json:"entries"`
	Tool      string    `json:"tool,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

const recordFormat = 1

// Open opens or makes the store in dir, removes what a crash left in staging, and looks for
// mkfs.erofs. A root whose record cannot be read is logged and treated as absent.
func Open(dir string, opts Options) (*Store, error) {
	opts.Limits = opts.Limits.withDefaults()
	if opts.IDBase == 0 {
		opts.IDBase = 1 << 20
	}
	if opts.IDBase < idRange || opts.IDBase > 1<<32-1-idRange {
		return nil, configf("id range from %d: must lie in %d..%d", opts.IDBase, idRange, uint32(1<<32-1-idRange))
	}
	if opts.Parallel <= 0 {
		opts.Parallel = 1
	}
	s := &Store{
		dir: dir, opts: opts, log: opts.Logger, slot: make(chan struct{}, opts.Parallel),
		roots: make(map[string]Root), leases: make(map[string]int), builds: make(map[string]*build), live: make(map[string]bool),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	for _, d := range []string{dir, s.rootsDir(), s.stagingDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil { //nolint:gosec // below the state directory
			return nil, withSpace("make store", err)
		}
	}
	if err := s.Sweep(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.tool = findTool(context.Background(), opts.MkfsErofs)
	return s, nil
}

// Close gives up what the store holds open. Builds and leases must be over.
func (s *Store) Close() error {
	if s.tool.file == nil {
		return nil
	}
	return s.tool.file.Close()
}

func (s *Store) rootsDir() string   { return filepath.Join(s.dir, "roots") }
func (s *Store) stagingDir() string { return filepath.Join(s.dir, "staging") }

// Tool returns what roots are made with here: the version of mkfs.erofs ("" if none), the kind of
// root that Build makes, and why it is a directory ("" for EROFS).
func (s *Store) Tool() (version string, kind Kind, why string) {
	if s.tool.file == nil {
		return s.tool.version, Directory, s.tool.why
	}
	return s.tool.version, EROFS, ""
}

var keyRE = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,31}(:[a-z0-9_-]{1,128})?$`)

// checkKey makes sure that a key can name a directory.
func checkKey(key string) error {
	if !keyRE.MatchString(key) || strings.HasPrefix(key, "sha256:") && !validDigest(key) {
		return invalidf("key of %d bytes: must be sha256:<64 hex digits> or match %s", len(key), keyRE)
	}
	return nil
}

func validDigest(d string) bool {
	h, ok := strings.CutPrefix(d, "sha256:")
	if !ok || len(h) != 64 || strings.ToLower(h) != h {
		return false
	}
	_, err := hex.DecodeString(h)
	return err == nil
}

// dirName is the folder below roots of a checked key; no key has a '+'.
func dirName(key string) string { return strings.Replace(key, ":", "+", 1) }

func (s *Store) load() error {
	entries, err := os.ReadDir(s.rootsDir())
	if err != nil {
		return fmt.Errorf("list roots: %w", err)
	}
	for _, e := range entries {
		key := strings.Replace(e.Name(), "+", ":", 1)
		root, err := s.read(key)
		if err != nil {
			s.log.Warn("a root cannot be used; import its image again", "root", e.Name(), "err", err)
			continue
		}
		s.roots[key] = root
	}
	return nil
}

// read loads and checks one committed root.
func (s *Store) read(key string) (Root, error) {
	if err := checkKey(key); err != nil {
		return Root{}, err
	}
	dir := filepath.Join(s.rootsDir(), dirName(key))
	f, err := os.Open(filepath.Join(dir, "root.json")) //nolint:gosec // below the state directory, from a checked key
	if err != nil {
		return Root{}, fmt.Errorf("open record: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	var rec record
	if err := json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&rec); err != nil {
		return Root{}, fmt.Errorf("decode record: %w", err)
	}
	if rec.Format != recordFormat || rec.Key != key {
		return Root{}, fmt.Errorf("record of format %d and key %q: not this root's", rec.Format, rec.Key)
	}
	root := Root{Key: key, Kind: rec.Kind, Size: rec.Size, SHA256: rec.SHA256, Path: filepath.Join(dir, fileOf(rec.Kind))}
	return root, root.check()
}

func fileOf(kind Kind) string {
	if kind == EROFS {
		return "root.erofs"
	}
	return "tree"
}

// check is the cheap check that the root is there and whole: type and, for an image, owner and
// size. The directory that is a root has the owner that its image gives it.
func (r Root) check() error {
	fi, err := os.Lstat(r.Path)
	if err != nil {
		return fmt.Errorf("stat root: %w", err)
	}
	switch {
	case r.Kind == EROFS && fi.Mode().IsRegular() && fi.Size() == r.Size:
		if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != uint32(os.Geteuid()) || fi.Mode()&0o022 != 0 { //nolint:gosec // an id
			return fmt.Errorf("root %s is not tsubod's own, or others may write to it: remove the image and import it again", r.Path)
		}
		return nil
	case r.Kind == Directory && fi.IsDir():
		// The tree has the owner that the image gives it, so the directory around it counts.
		around, err := os.Lstat(filepath.Dir(r.Path))
		if err != nil {
			return fmt.Errorf("stat root: %w", err)
		}
		if st, ok := around.Sys().(*syscall.Stat_t); !ok || st.Uid != uint32(os.Geteuid()) || around.Mode()&0o022 != 0 { //nolint:gosec // an id
			return fmt.Errorf("directory of root %s is not tsubod's own, or others may write to it: remove the image and import it again", r.Path)
		}
		return nil
	}
	return fmt.Errorf("%s root is a %v of %d bytes, expected %d: the image is corrupt; remove and import it again", r.Kind, fi.Mode().Type(), fi.Size(), r.Size)
}

// Lookup returns the root of key, ErrNotFound if there is none.
func (s *Store) Lookup(key string) (Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, ok := s.roots[key]
	if !ok {
		return Root{}, &kindError{kind: ErrNotFound, msg: fmt.Sprintf("no root for %q", key)}
	}
	return root, nil
}

// Has reports whether Build has nothing to do for key.
func (s *Store) Has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.usable(key)
	return ok
}

// Keys lists the roots, sorted.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sortedKeys(s.roots)
}

// Lease keeps a root from being removed or replaced.
type Lease struct {
	Root    Root
	release func()
}

// Release ends the lease; further calls do nothing.
func (l *Lease) Release() { l.release() }

// Acquire leases the root of key, after a look that it is still there and whole. ErrNotFound if
// there is none. Leases do not outlive the process: who may still use a root after a crash is gone
// before the store is opened again.
func (s *Store) Acquire(key string) (*Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, ok := s.roots[key]
	if !ok {
		return nil, &kindError{kind: ErrNotFound, msg: fmt.Sprintf("no root for %q", key)}
	}
	if err := root.check(); err != nil {
		return nil, fmt.Errorf("root of %s: %w", key, err)
	}
	s.leases[key]++
	return &Lease{Root: root, release: sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leases[key]--; s.leases[key] == 0 {
			delete(s.leases, key)
		}
	})}, nil
}

// Remove removes the root of key. ErrLeased while it is in use; no error when there is none.
func (s *Store) Remove(key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	s.mu.Lock()
	if n := s.leases[key]; n > 0 {
		s.mu.Unlock()
		return &kindError{kind: ErrLeased, msg: fmt.Sprintf("root of %s is used by %d sandboxes; try again when they are done", key, n)}
	}
	trash, err := s.discard(key)
	s.mu.Unlock()
	if err != nil || trash == "" {
		return err
	}
	defer s.unstage(trash)
	return removeTree(trash)
}

// discard takes key's folder out of roots by one rename and returns where it is now, "" if there
// was none. s.mu is held.
func (s *Store) discard(key string) (trash string, err error) {
	trash = s.stage()
	err = os.Rename(filepath.Join(s.rootsDir(), dirName(key)), trash) //nolint:gosec // below the state directory
	if err == nil {
		delete(s.roots, key)
		return trash, syncDir(s.rootsDir())
	}
	delete(s.live, filepath.Base(trash))
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.roots, key)
		return "", nil
	}
	return "", fmt.Errorf("take root out: %w", err)
}

// Sweep removes what is left in staging of builds that no longer run. Safe at any time.
func (s *Store) Sweep() error {
	entries, err := os.ReadDir(s.stagingDir())
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	var errs []error
	for _, e := range entries {
		s.mu.Lock()
		live := s.live[e.Name()]
		s.mu.Unlock()
		if !live {
			errs = append(errs, removeTree(filepath.Join(s.stagingDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Verify reads an EROFS root again and compares it with the digest taken when it was built; a
// directory root has none.
func (s *Store) Verify(key string) error {
	lease, err := s.Acquire(key)
	if err != nil {
		return err
	}
	defer lease.Release()
	if lease.Root.Kind != EROFS {
		return nil
	}
	f, err := os.Open(lease.Root.Path)
	if err != nil {
		return fmt.Errorf("open root: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	sum, err := hashFile(f)
	if err != nil {
		return err
	}
	if sum != lease.Root.SHA256 {
		return fmt.Errorf("root of %s: content has changed since it was built: the image is corrupt; remove and import it again", key)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
