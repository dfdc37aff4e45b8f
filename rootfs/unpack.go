package rootfs

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	apexlog "github.com/apex/log"
	"github.com/apex/log/handlers/discard"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/umoci/oci/layer"
	"golang.org/x/sys/unix"
)

// treeDir is the child's unpack directory, below the work directory, which is the child's root.
const treeDir = "/tree"

// unpack is the first step: it runs in the child, chrooted.
func unpack(req request) (answer, error) {
	apexlog.SetHandler(discard.New())
	if len(req.Layers) > req.Limits.Layers {
		return answer{}, invalidf("%d layers: at most %d", len(req.Layers), req.Limits.Layers)
	}
	if err := os.Mkdir(treeDir, 0o755); err != nil { //nolint:gosec // an image's root
		return answer{}, fmt.Errorf("make tree: %w", err)
	}
	u := &unpacker{limits: req.Limits, bytesLeft: req.Limits.UnpackedBytes, filesLeft: req.Limits.UnpackedBytes}
	for i, l := range req.Layers {
		blob := os.NewFile(uintptr(filesFD+i), l.Name)
		if blob == nil {
			return answer{}, fmt.Errorf("%s: no descriptor", l.Name)
		}
		if err := u.layer(l, blob); err != nil {
			return answer{}, fmt.Errorf("%s: %w", l.Name, err)
		}
		if err := blob.Close(); err != nil {
			return answer{}, fmt.Errorf("%s: close: %w", l.Name, err)
		}
	}
	if req.MountPoints {
		if err := putMountPoints(treeDir); err != nil {
			return answer{}, err
		}
	}
	if err := finishDirs(treeDir, req.Limits.Depth); err != nil {
		return answer{}, err
	}
	return answer{OK: true, Entries: u.entries, Bytes: req.Limits.UnpackedBytes - u.filesLeft}, nil
}

type unpacker struct {
	limits    Limits
	bytesLeft int64 // of the tar streams
	filesLeft int64 // of the files in them: more than the stream where a sparse file expands
	entries   int
	dropped   map[string]bool // entries of this layer that were left out
}

func (u *unpacker) layer(l layerRequest, blob *os.File) error {
	u.dropped = make(map[string]bool)
	blobHash := sha256.New()
	raw := bufio.NewReaderSize(io.TeeReader(io.NewSectionReader(blob, 0, l.Size), blobHash), 256<<10)
	stream, done, err := u.decompress(l.Compression, raw)
	if err != nil {
		return err
	}
	defer done()

	diffHash := sha256.New()
	tarStream := io.TeeReader(&capped{r: stream, left: &u.bytesLeft}, diffHash)
	unpackErr := u.entriesOf(tarStream)
	if unpackErr == nil {
		// Bytes after the end of the archive count for the diff id and, below, for the digest.
		if _, err := io.Copy(io.Discard, tarStream); err != nil {
			unpackErr = streamError(err)
		}
	}
	if errors.Is(unpackErr, errTooMuch) || noSpace(unpackErr) {
		return unpackErr
	}
	// A wrong digest explains every other error, so it is reported first.
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	if got := digestOf(blobHash); got != l.Digest {
		return invalidf("blob is corrupt: its digest is %s, the manifest says %s; import the image again from its source", got, l.Digest)
	}
	if unpackErr != nil {
		return unpackErr
	}
	if got := digestOf(diffHash); got != l.DiffID {
		return invalidf("unpacked content has digest %s, the image's configuration says %s (rootfs.diff_ids)", got, l.DiffID)
	}
	return nil
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

func (u *unpacker) decompress(c Compression, r io.Reader) (io.Reader, func(), error) {
	switch c {
	case Uncompressed:
		return r, func() {}, nil
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, streamError(err)
		}
		return z, func() { z.Close() }, nil //nolint:errcheck,gosec // Close of a reader reports what Read already did
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(u.limits.ZstdWindow))
		if err != nil {
			return nil, nil, streamError(err)
		}
		return z, z.Close, nil
	}
	return nil, nil, invalidf("compression %q is not supported: use tar, tar+gzip or tar+zstd layers", string(c))
}

// errTooMuch marks an exceeded limit.
var errTooMuch = errors.New("over a limit")

func tooMuchf(format string, args ...any) error {
	return &kindError{kind: ErrInvalid, msg: fmt.Sprintf(format, args...), err: errTooMuch}
}

// streamError classifies a read error of the tar stream: the blob is at fault unless a limit was
// exceeded.
func streamError(err error) error {
	if errors.Is(err, ErrInvalid) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return invalidf("blob is truncated")
	}
	return invalidf("blob is not a valid archive: %v", err)
}

// capped reads at most *left bytes and then fails. A stream of exactly the limit passes.
type capped struct {
	r    io.Reader
	left *int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.left -= int64(n)
	if *c.left < 0 {
		return 0, tooMuchf("unpacks to more than an image may")
	}
	return n, err
}

func (u *unpacker) entriesOf(stream io.Reader) error {
	ex := layer.NewTarExtractor(&layer.UnpackOptions{OnDiskFormat: layer.DirRootfs{}})
	tr := tar.NewReader(stream)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return streamError(err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return tooMuchf("more than %d entries", u.limits.Entries)
		}
		name := hdr.Name
		keep, err := u.sanitise(hdr)
		if err != nil {
			return err
		}
		if !keep {
			u.dropped[cleanName(name)] = true
			if err := drop(ex, hdr); err != nil {
				return entryError(name, err)
			}
			continue
		}
		delete(u.dropped, cleanName(name))
		if err := ex.UnpackEntry(treeDir, hdr, tr); err != nil {
			return entryError(name, err)
		}
	}
}

// drop removes whatever a skipped entry would replace in this layer or a lower layer. It puts an
// empty file in the place and removes the file. A global header replaces nothing.
func drop(ex *layer.TarExtractor, hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := ex.UnpackEntry(treeDir, &tar.Header{Name: hdr.Name, Typeflag: tar.TypeReg}, strings.NewReader("")); err != nil {
		return err
	}
	root, err := unix.Open(treeDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root) //nolint:errcheck // nothing was written to it
	parent, name := path.Split(cleanName(hdr.Name))
	dir, err := unix.Openat2(root, path.Clean("./"+parent), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return err
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written to it
	return unix.Unlinkat(dir, name, 0)
}

// isWhiteout reports whether an entry removes lower entries. Its name alone decides.
func isWhiteout(name string) bool { return strings.HasPrefix(path.Base(cleanName(name)), ".wh.") }

// entryError separates faults of the image from failures of this host.
func entryError(name string, err error) error {
	switch {
	case errors.Is(err, ErrInvalid):
		return err
	case noSpace(err):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalidf("blob is truncated in entry %q", name)
	}
	for _, host := range []error{unix.EIO, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EROFS} {
		if errors.Is(err, host) {
			return fmt.Errorf("unpack %q: %w", name, err)
		}
	}
	return &kindError{kind: ErrInvalid, msg: fmt.Sprintf("entry %q cannot be unpacked: %v", name, err), err: err}
}

// sanitise checks one entry and strips setuid and setgid bits, extended attributes (including file
// capabilities and security labels), and time stamps that EROFS cannot hold. It reports whether to
// keep the entry. Device nodes, FIFOs and hard links to them are skipped. A whiteout is kept
// whatever its type.
func (u *unpacker) sanitise(hdr *tar.Header) (keep bool, err error) {
	if err := u.checkPath("entry", hdr.Name); err != nil {
		return false, err
	}
	isRoot := cleanName(hdr.Name) == "."
	if isRoot && hdr.Typeflag != tar.TypeDir && hdr.Typeflag != tar.TypeXGlobalHeader {
		return false, invalidf("entry %q would replace the root directory", hdr.Name)
	}
	if hdr.Typeflag != tar.TypeXGlobalHeader && isWhiteout(hdr.Name) {
		hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeReg, "", 0
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		if hdr.Linkname == "" || len(hdr.Linkname) > u.limits.PathBytes || strings.ContainsRune(hdr.Linkname, 0) {
			return false, invalidf("entry %q: target of the symbolic link is empty, too long or holds NUL", hdr.Name)
		}
	case tar.TypeLink:
		if err := u.checkPath("target of hard link "+fmt.Sprintf("%q", hdr.Name), hdr.Linkname); err != nil {
			return false, err
		}
		if u.dropped[cleanName(hdr.Linkname)] {
			return false, nil
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return false, nil
	case tar.TypeXGlobalHeader:
		return false, nil
	default:
		return false, invalidf("entry %q: type %q is not supported", hdr.Name, string(rune(hdr.Typeflag)))
	}
	if hdr.Uid < 0 || hdr.Uid >= idRange || hdr.Gid < 0 || hdr.Gid >= idRange {
		return false, invalidf("entry %q: owner %d:%d is not in 0..%d", hdr.Name, hdr.Uid, hdr.Gid, idRange-1)
	}
	if hdr.Typeflag == tar.TypeReg {
		if u.filesLeft -= hdr.Size; hdr.Size < 0 || u.filesLeft < 0 {
			return false, tooMuchf("entry %q of %d bytes: unpacks to more than an image may", hdr.Name, hdr.Size)
		}
	}
	bits := hdr.Mode & 0o777
	if hdr.Typeflag == tar.TypeDir {
		bits |= hdr.Mode & 0o1000
	}
	hdr.Mode = bits
	hdr.Xattrs = nil //nolint:staticcheck // SA1019: what umoci reads
	hdr.PAXRecords = nil
	hdr.ModTime = clampTime(hdr.ModTime)
	hdr.AccessTime, hdr.ChangeTime = hdr.ModTime, hdr.ModTime
	return true, nil
}

// cleanName returns an entry's name relative to the root, "." for the root itself.
func cleanName(name string) string { return path.Clean(strings.TrimLeft(layer.CleanPath(name), "/")) }

// checkPath refuses names that no honest tool writes. An absolute path counts as relative to the
// root.
func (u *unpacker) checkPath(what, name string) error {
	switch {
	case name == "":
		return invalidf("%s has an empty name", what)
	case strings.ContainsRune(name, 0):
		return invalidf("%s %q holds NUL", what, name)
	case len(name) > u.limits.PathBytes:
		return tooMuchf("%s has a name of %d bytes: at most %d", what, len(name), u.limits.PathBytes)
	}
	depth := 0
	for elem := range strings.SplitSeq(name, "/") {
		switch {
		case elem == "" || elem == ".":
			continue
		case elem == "..":
			return invalidf(`%s %q holds ".."`, what, name)
		case len(elem) > 255:
			return invalidf("%s has a path element of %d bytes: at most 255", what, len(elem))
		}
		depth++
	}
	if depth > u.limits.Depth {
		return tooMuchf("%s is %d directories deep: at most %d", what, depth, u.limits.Depth)
	}
	return nil
}

func clampTime(t time.Time) time.Time {
	switch {
	case t.Unix() < 0:
		return time.Unix(0, 0)
	case t.Unix() >= imageEpoch:
		return time.Unix(imageEpoch, 0)
	}
	return t
}

// putMountPoints makes every mount point a real directory and /.tsubo an empty directory, whatever
// the image holds there. It follows no link: anything but a directory is removed by name, and every
// path has one element.
func putMountPoints(tree string) error {
	points := MountPoints()
	for _, name := range sortedKeys(points) {
		p := filepath.Join(tree, name)
		fi, err := os.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("look at /%s: %w", name, err)
		case !fi.IsDir() || name == ".tsubo":
			if err := os.RemoveAll(p); err != nil {
				return fmt.Errorf("remove the image's /%s: %w", name, err)
			}
		}
		if err := ownDir(p, 0, 0, points[name]); err != nil {
			return fmt.Errorf("mount point /%s: %w", name, err)
		}
	}
	return putHome(tree)
}

// putHome makes /home/sandbox, the job's HOME, unless the path exists in the image or /home is no
// directory.
func putHome(tree string) error {
	home := filepath.Join(tree, "home")
	fi, err := os.Lstat(home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := ownDir(home, 0, 0, 0o755); err != nil {
			return fmt.Errorf("make /home: %w", err)
		}
	case err != nil:
		return fmt.Errorf("look at /home: %w", err)
	case !fi.IsDir():
		return nil
	}
	own := filepath.Join(home, "sandbox")
	if _, err := os.Lstat(own); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := ownDir(own, 1000, 1000, 0o755); err != nil {
		return fmt.Errorf("make /home/sandbox: %w", err)
	}
	return nil
}

// ownDir makes p a directory with this owner and mode, or adopts the existing directory.
func ownDir(p string, uid, gid int, mode fs.FileMode) error {
	if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Lchown(p, uid, gid); err != nil {
		return err
	}
	return os.Chmod(p, mode)
}

// finishDirs gives every directory the same time stamp. Otherwise unlisted directories would carry
// the build's time, and the same image would give a different root each time. finishDirs refuses a
// tree that symbolic links made deeper than any entry's own path.
func finishDirs(tree string, depth int) error {
	epoch := []unix.Timespec{{}, {}}
	return filepath.WalkDir(tree, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("walk /%s: %w", strings.TrimPrefix(path.Clean(p), treeDir), err)
		}
		if !d.IsDir() {
			return nil
		}
		if n := strings.Count(strings.TrimPrefix(p, treeDir), "/"); n > depth {
			return tooMuchf("%d directories deep: at most %d", n, depth)
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, epoch, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("set time of %s: %w", strings.TrimPrefix(p, treeDir), err)
		}
		return nil
	})
}
