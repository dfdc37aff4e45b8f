package rootfs

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// build is a build in progress. All callers with the same key share it.
type build struct {
	cancel  context.CancelCauseFunc
	waiters int // guarded by Store.mu
	done    chan struct{}
	root    Root  // valid after done
	err     error // valid after done
}

// Build makes the root of key from src, or returns the existing root. A key identifies one content.
// Concurrent callers with the same key share one build, which is cancelled when its last caller
// leaves. A failed build leaves nothing behind. A directory root is rebuilt as EROFS once
// mkfs.erofs is available, unless the root is in use.
//
// Errors: [ErrInvalid] if the layers are at fault, [ErrNoSpace], [ErrConfig], or the context's.
func (s *Store) Build(ctx context.Context, key string, src TreeSource) (Root, error) {
	if err := checkKey(key); err != nil {
		return Root{}, err
	}
	if len(src.Layers) == 0 {
		return Root{}, invalidf("no layers")
	}
	if len(src.Layers) > s.opts.Limits.Layers {
		return Root{}, invalidf("%d layers: at most %d", len(src.Layers), s.opts.Limits.Layers)
	}
	for _, l := range src.Layers {
		if err := l.check(); err != nil {
			return Root{}, err
		}
	}

	s.mu.Lock()
	if root, ok := s.usable(key); ok {
		s.mu.Unlock()
		return root, nil
	}
	b := s.builds[key]
	if b == nil {
		bctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		b = &build{cancel: cancel, done: make(chan struct{})}
		s.builds[key] = b
		// The blobs belong to the first caller, who may leave before the build ends, so the build
		// duplicates the descriptors.
		src, err := src.dup()
		if err != nil {
			delete(s.builds, key)
			s.mu.Unlock()
			cancel(nil)
			return Root{}, err
		}
		go s.run(bctx, key, src, b)
	}
	b.waiters++
	s.mu.Unlock()

	select {
	case <-b.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	b.waiters--
	last := b.waiters == 0
	if last && s.builds[key] == b {
		delete(s.builds, key) // nobody joins a build that is about to be given up
	}
	s.mu.Unlock()
	if ctx.Err() == nil {
		return b.root, b.err
	}
	if last {
		b.cancel(context.Cause(ctx))
		<-b.done // so that nothing of it is left when this returns
	}
	return Root{}, context.Cause(ctx)
}

// BuildTree is [Store.Build] for a small root of given files, all owned by root. Unlisted parents
// are 0755 directories.
func (s *Store) BuildTree(ctx context.Context, key string, files map[string]GuestFile) (Root, error) {
	l, err := treeLayer(files)
	if err != nil {
		return Root{}, err
	}
	defer l.Blob.Close() //nolint:errcheck // memory
	return s.Build(ctx, key, TreeSource{Layers: []Layer{l}})
}

func (l Layer) check() error {
	if !validDigest(l.Digest) || !validDigest(l.DiffID) {
		return invalidf("%s: digest must be sha256:<64 lower-case hex digits>", l.Name)
	}
	fi, err := l.Blob.Stat()
	if err != nil {
		return fmt.Errorf("%s: stat blob: %w", l.Name, err)
	}
	if l.Size < 0 || fi.Size() != l.Size {
		return invalidf("%s: blob has %d bytes, the manifest says %d; import the image again from its source", l.Name, fi.Size(), l.Size)
	}
	return nil
}

func (src TreeSource) dup() (TreeSource, error) {
	out := TreeSource{MountPoints: src.MountPoints, Layers: make([]Layer, 0, len(src.Layers))}
	for _, l := range src.Layers {
		fd, err := unix.FcntlInt(l.Blob.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			out.close()
			return TreeSource{}, fmt.Errorf("%s: duplicate descriptor: %w", l.Name, err)
		}
		l.Blob = os.NewFile(uintptr(fd), l.Name)
		out.Layers = append(out.Layers, l)
	}
	return out, nil
}

func (src TreeSource) close() {
	for _, l := range src.Layers {
		l.Blob.Close() //nolint:errcheck,gosec // only read
	}
}

// usable returns the root of key if it need not be rebuilt. s.mu must be held.
func (s *Store) usable(key string) (Root, bool) {
	root, ok := s.roots[key]
	if !ok || root.check() != nil {
		return Root{}, false
	}
	if root.Kind == Directory && s.tool.file != nil && s.leases[key] == 0 {
		return Root{}, false
	}
	return root, true
}

// run does one build and wakes all its waiters.
func (s *Store) run(ctx context.Context, key string, src TreeSource, b *build) {
	defer src.close()
	b.root, b.err = s.make(ctx, key, src)
	s.mu.Lock()
	if s.builds[key] == b {
		delete(s.builds, key)
	}
	s.mu.Unlock()
	b.cancel(nil)
	close(b.done)
}

func (s *Store) make(ctx context.Context, key string, src TreeSource) (root Root, err error) {
	select {
	case s.slot <- struct{}{}:
		defer func() { <-s.slot }()
	case <-ctx.Done():
		return Root{}, context.Cause(ctx)
	}
	start := time.Now()
	wall := invalidf("takes more than %v to build", s.opts.Limits.Wall)
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Limits.Wall, wall)
	defer cancel()

	s.mu.Lock()
	staging := s.stage()
	s.mu.Unlock()
	defer func() {
		if rerr := removeTree(staging); rerr != nil {
			s.log.Error("what an image build left cannot be removed", "err", rerr)
			err = errors.Join(err, rerr)
		}
		s.unstage(staging)
	}()
	rec, err := s.prepare(ctx, key, src, staging)
	if err != nil {
		return Root{}, withSpace("build root", err)
	}
	root, err = s.commit(rec, staging)
	if err == nil {
		s.log.Info("root built", "key", key, "kind", root.Kind, "bytes", root.Size, "entries", rec.Entries, "took", time.Since(start))
	}
	return root, withSpace("commit root", err)
}

// prepare builds the root in staging/commit, ready to be renamed.
func (s *Store) prepare(ctx context.Context, key string, src TreeSource, staging string) (record, error) {
	workPath, commit := filepath.Join(staging, "work"), filepath.Join(staging, "commit")
	for _, d := range []string{staging, workPath, commit} {
		if err := os.Mkdir(d, 0o700); err != nil { //nolint:gosec // below the state directory
			return record{}, fmt.Errorf("make staging: %w", err)
		}
	}
	work, err := os.Open(workPath) //nolint:gosec // made just now
	if err != nil {
		return record{}, fmt.Errorf("open work directory: %w", err)
	}
	defer work.Close() //nolint:errcheck // a directory
	if err := work.Chown(int(s.opts.IDBase), int(s.opts.IDBase)); err != nil {
		return record{}, fmt.Errorf("give work directory to the unpacker: %w", err)
	}

	req := request{MountPoints: src.MountPoints, Limits: s.opts.Limits}
	blobs := make([]*os.File, 0, len(src.Layers))
	for _, l := range src.Layers {
		req.Layers = append(req.Layers, layerRequest{Name: l.Name, Size: l.Size, Digest: l.Digest, DiffID: l.DiffID, Compression: l.Compression})
		blobs = append(blobs, l.Blob)
	}
	unpacked, err := s.child(ctx, "unpack", work, blobs, req, false)
	if err != nil {
		return record{}, err
	}
	rec := record{Format: recordFormat, Key: key, Kind: Directory, Entries: unpacked.Entries, Size: unpacked.Bytes, CreatedAt: time.Now().UTC()}
	if s.tool.file == nil {
		err = s.takeTree(work, commit)
	} else {
		rec.Kind, rec.Tool = EROFS, s.tool.version
		rec.Size, rec.SHA256, err = s.makeImage(ctx, work, commit)
	}
	if err != nil {
		return record{}, err
	}
	return rec, writeRecord(commit, rec)
}

// makeImage turns work/tree into commit/root.erofs, verified and synced.
func (s *Store) makeImage(ctx context.Context, work *os.File, commit string) (size int64, sum string, err error) {
	if err := s.mkfs(ctx, work); err != nil {
		if s.full() {
			return 0, "", fmt.Errorf("%w (%w)", unix.ENOSPC, err)
		}
		var exit *exitError
		if errors.As(err, &exit) {
			err = s.tool.toolError("make image with", err)
		}
		return 0, "", err
	}
	if _, err := s.child(ctx, "verify", work, nil, request{Limits: s.opts.Limits}, false); err != nil {
		if ctx.Err() == nil {
			err = s.tool.toolError("verify image written by", err)
		}
		return 0, "", err
	}
	f, err := openBeneath(work, "out/root.erofs", unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return 0, "", fmt.Errorf("open image: %w", err)
	}
	defer f.Close() //nolint:errcheck // synced below
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, "", fmt.Errorf("stat image: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Uid != s.opts.IDBase {
		return 0, "", fmt.Errorf("image of mode %o, %d links, owner %d: not the file that was to be made", st.Mode, st.Nlink, st.Uid)
	}
	if err := f.Chown(0, 0); err != nil {
		return 0, "", fmt.Errorf("take over image: %w", err)
	}
	if err := f.Chmod(0o400); err != nil {
		return 0, "", fmt.Errorf("chmod image: %w", err)
	}
	if sum, err = hashFile(f); err != nil {
		return 0, "", err
	}
	if err := f.Sync(); err != nil {
		return 0, "", fmt.Errorf("sync image: %w", err)
	}
	// Nothing can replace the file any more: the children are dead and only they had access to
	// out/.
	if err := os.Rename(filepath.Join(work.Name(), "out", "root.erofs"), filepath.Join(commit, "root.erofs")); err != nil { //nolint:gosec // below the state directory
		return 0, "", fmt.Errorf("move image: %w", err)
	}
	return st.Size, sum, nil
}

// mkfs runs mkfs.erofs over work/tree.
func (s *Store) mkfs(ctx context.Context, work *os.File) error {
	if err := unix.Mkdirat(int(work.Fd()), "out", 0o700); err != nil {
		return fmt.Errorf("make out: %w", err)
	}
	if err := unix.Fchownat(int(work.Fd()), "out", int(s.opts.IDBase), int(s.opts.IDBase), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give out to the child: %w", err)
	}
	workMount, err := detachedMount(work)
	if err != nil {
		return err
	}
	defer workMount.Close() //nolint:errcheck // a mount that ends with it
	toolMount, err := detachedMount(s.tool.file)
	if err != nil {
		return err
	}
	defer toolMount.Close() //nolint:errcheck // a mount that ends with it
	req := request{Argv: s.tool.mkfsArgs(), Env: mkfsEnv(), Limits: s.opts.Limits}
	_, err = s.child(ctx, "mkfs", workMount, []*os.File{toolMount}, req, true)
	return err
}

// takeTree turns work/tree into the directory root commit/tree, owned by the image's own ids, and
// syncs it.
func (s *Store) takeTree(work *os.File, commit string) error {
	tree, err := openBeneath(work, "tree", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open tree: %w", err)
	}
	defer tree.Close() //nolint:errcheck // a directory
	if err := shiftTree(tree, s.opts.IDBase, s.opts.Limits.Depth); err != nil {
		return fmt.Errorf("take over tree: %w", err)
	}
	if err := os.Rename(filepath.Join(work.Name(), "tree"), filepath.Join(commit, "tree")); err != nil { //nolint:gosec // below the state directory
		return fmt.Errorf("move tree: %w", err)
	}
	if err := unix.Syncfs(int(tree.Fd())); err != nil {
		return fmt.Errorf("sync tree: %w", err)
	}
	return nil
}

// commit moves staging/commit into place by one rename.
func (s *Store) commit(rec record, staging string) (Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if root, ok := s.roots[rec.Key]; ok && s.leases[rec.Key] > 0 {
		return root, nil // a directory root that was taken into use meanwhile stays
	}
	trash, err := s.discard(rec.Key)
	if err != nil {
		return Root{}, err
	}
	if trash != "" {
		defer func() {
			if err := removeTree(trash); err != nil {
				s.log.Error("a replaced root cannot be removed", "err", err)
			}
			delete(s.live, filepath.Base(trash))
		}()
	}
	dir := filepath.Join(s.rootsDir(), dirName(rec.Key))
	if err := os.Rename(filepath.Join(staging, "commit"), dir); err != nil { //nolint:gosec // below the state directory
		return Root{}, fmt.Errorf("rename: %w", err)
	}
	if err := syncDir(s.rootsDir()); err != nil {
		return Root{}, err
	}
	root := Root{Key: rec.Key, Kind: rec.Kind, Size: rec.Size, SHA256: rec.SHA256, Path: filepath.Join(dir, fileOf(rec.Kind))}
	s.roots[rec.Key] = root
	return root, nil
}

// stage returns a new path in staging that Sweep ignores until unstage. s.mu must be held.
func (s *Store) stage() string {
	name := rand.Text()
	s.live[name] = true
	return filepath.Join(s.stagingDir(), name)
}

func (s *Store) unstage(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, filepath.Base(path))
}

// full reports whether the store's file system is full. It serves programs that do not report why
// they failed.
func (s *Store) full() bool {
	var st unix.Statfs_t
	if err := unix.Statfs(s.stagingDir(), &st); err != nil {
		return false
	}
	return st.Bavail < 16 || st.Files > 0 && st.Ffree == 0
}

func writeRecord(dir string, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "root.json"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // below staging
	if err != nil {
		return fmt.Errorf("create record: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // below the state directory
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	defer d.Close() //nolint:errcheck // synced
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// openBeneath opens a path below dir without following links.
func openBeneath(dir *os.File, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func hashFile(f *os.File) (string, error) {
	h := sha256.New()
	fi, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("stat image: %w", err)
	}
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, fi.Size())); err != nil {
		return "", fmt.Errorf("read image: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
