package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"
	"golang.org/x/sys/unix"
)

// layout is an OCI image layout as a source for go.podman.io/image. The library's own transport
// (oci/layout) works by path and follows links. layout opens each file below the folder with
// openat2 and refuses links and everything except regular files.
type layout struct {
	dir         *os.File
	maxManifest int64
	index       []byte
}

var _ types.ImageSource = (*layout)(nil)

// openLayout opens the layout in dir. The caller closes it.
func openLayout(dir string, maxManifest int64) (*layout, error) {
	d, err := os.Open(dir) //nolint:gosec // the operator's own setting, or this package's staging
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	l := &layout{dir: d, maxManifest: maxManifest}
	if err := l.begin(); err != nil {
		d.Close() //nolint:errcheck,gosec // a directory
		return nil, err
	}
	return l, nil
}

// begin reads the two files that every layout has.
func (l *layout) begin() error {
	marker, err := l.readFile(imgspecv1.ImageLayoutFile, 4<<10)
	if err != nil {
		return err
	}
	var version imgspecv1.ImageLayout
	if err := json.Unmarshal(marker, &version); err != nil || version.Version != imgspecv1.ImageLayoutVersion {
		return invalidf("%s: not an OCI image layout of version %s", imgspecv1.ImageLayoutFile, imgspecv1.ImageLayoutVersion)
	}
	l.index, err = l.readFile(imgspecv1.ImageIndexFile, l.maxManifest)
	return err
}

// Close implements types.ImageSource.
func (l *layout) Close() error { return l.dir.Close() }

// HasThreadSafeGetBlob implements types.ImageSource.
func (l *layout) HasThreadSafeGetBlob() bool { return true }

// GetSignatures implements types.ImageSource: layouts carry none.
func (l *layout) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

// LayerInfosForCopy implements types.ImageSource: the manifest's own layers count.
func (l *layout) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// GetManifest implements types.ImageSource. The content decides the media type; the descriptor's is
// ignored.
func (l *layout) GetManifest(_ context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return l.index, imgspecv1.MediaTypeImageIndex, nil
	}
	name, err := blobName(*instance)
	if err != nil {
		return nil, "", err
	}
	b, err := l.readFile(name, l.maxManifest)
	if err != nil {
		return nil, "", err
	}
	return b, manifest.GuessMIMEType(b), nil
}

// GetBlob implements types.ImageSource. The reader is an *os.File.
func (l *layout) GetBlob(_ context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	f, size, err := l.openBlob(info.Digest)
	return f, size, err
}

// openBlob opens a blob's file. The reader must check the digest.
func (l *layout) openBlob(d digest.Digest) (*os.File, int64, error) {
	name, err := blobName(d)
	if err != nil {
		return nil, 0, err
	}
	return l.open(name)
}

// blobName returns a blob's path in a layout. Only sha256 is accepted, so that each content has one
// name.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return "", invalidf("digest %.80q: must be sha256:<64 lower-case hex digits>", string(d))
	}
	return "blobs/sha256/" + d.Encoded(), nil
}

func (l *layout) open(name string) (*os.File, int64, error) {
	fd, err := unix.Openat2(int(l.dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, 0, invalidf("%s is missing from the OCI layout; make the layout again", name)
	case errors.Is(err, unix.ELOOP):
		return nil, 0, invalidf("%s is or lies behind a symbolic link; an OCI layout holds plain files only", name)
	case errors.Is(err, unix.ENXIO):
		return nil, 0, notRegular(name)
	case err != nil:
		return nil, 0, fmt.Errorf("open %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = notRegular(name)
	}
	if err != nil {
		f.Close() //nolint:errcheck,gosec // only read
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func notRegular(name string) error {
	return invalidf("%s is not a regular file; an OCI layout holds plain files only", name)
}

// readFile reads a small file whole.
func (l *layout) readFile(name string, limit int64) ([]byte, error) {
	f, size, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	if size > limit {
		return nil, invalidf("%s has %d bytes: at most %d", name, size, limit)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, limit)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// checkBlob verifies a small blob that is in memory.
func checkBlob(what string, b []byte, d digest.Digest, size int64) error {
	if int64(len(b)) != size {
		return invalidf("%s %s has %d bytes, its descriptor says %d: the layout is corrupt; make it again", what, d, len(b), size)
	}
	h := sha256.Sum256(b)
	if got := hex.EncodeToString(h[:]); !strings.EqualFold(got, d.Encoded()) {
		return invalidf("%s %s is corrupt: its digest is sha256:%s; make the layout again", what, d, got)
	}
	return nil
}
