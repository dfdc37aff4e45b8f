package images

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

// ImportLayout imports the image of the OCI layout in dir under a name. From a multi-platform
// layout it takes the image for linux and this machine's architecture. It does nothing if the name
// already refers to the same image. Otherwise the name moves; the earlier image stays, known by its
// digest.
func (c *Catalogue) ImportLayout(ctx context.Context, name, dir string) (job.Image, error) {
	if err := CheckName(name); err != nil {
		return job.Image{}, err
	}
	img, err := c.importLayout(ctx, name, dir)
	return img, classify(err)
}

func (c *Catalogue) importLayout(ctx context.Context, name, dir string) (_ job.Image, err error) {
	l, err := openLayout(dir, c.limits.Manifest)
	if err != nil {
		return job.Image{}, err
	}
	defer l.Close() //nolint:errcheck // only read
	d, err := l.choose(ctx)
	if err != nil {
		return job.Image{}, err
	}
	c.mu.Lock()
	_, known := c.records[d]
	same := known && c.names[name] == d
	c.mu.Unlock()
	if same && c.roots.Has(string(d)) {
		return c.Resolve(name)
	}

	p, err := l.parse(ctx, d, c.limits)
	if err != nil {
		return job.Image{}, err
	}
	src := rootfs.TreeSource{MountPoints: true}
	defer func() {
		for _, layer := range src.Layers {
			layer.Blob.Close() //nolint:errcheck,gosec // only read
		}
	}()
	for i, layer := range p.layers {
		f, _, err := l.openBlob(layer.info.Digest)
		if err != nil {
			return job.Image{}, err
		}
		src.Layers = append(src.Layers, rootfs.Layer{
			Name: fmt.Sprintf("layer %d of %d (%s)", i+1, len(p.layers), layer.info.Digest),
			Blob: f, Size: layer.info.Size, Digest: string(layer.info.Digest), DiffID: string(layer.diffID), Compression: layer.compression,
		})
	}
	if _, err := c.roots.Build(ctx, string(d), src); err != nil {
		return job.Image{}, err
	}
	return c.put(name, p)
}

// Preload imports the layouts in dirs, each under its folder's name. A folder in dirs is a layout
// or holds layouts. A missing directory is skipped, and an unchanged layout is left alone. Preload
// continues after a failure and returns all failures together, with their paths.
func (c *Catalogue) Preload(ctx context.Context, dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		layouts, err := findLayouts(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("preload %s: %w", dir, err))
		}
		for _, l := range layouts {
			img, err := c.ImportLayout(ctx, filepath.Base(l), l)
			if err != nil {
				errs = append(errs, fmt.Errorf("preload %s: %w", l, err))
				continue
			}
			c.log.Info("image is ready", "name", img.Name, "digest", img.Digest, "rootfs", img.Rootfs)
		}
	}
	return errors.Join(errs...)
}

func findLayouts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list: %w", errors.Unwrap(err))
	}
	var subs []string
	for _, e := range entries {
		if e.Name() == imgspecv1.ImageLayoutFile || e.Name() == imgspecv1.ImageIndexFile {
			return []string{dir}, nil
		}
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			subs = append(subs, filepath.Join(dir, e.Name()))
		}
	}
	return subs, nil
}

// ImportArchive imports the image of an OCI layout from a tar stream, plain or gzipped. The
// caller limits r, whose own errors ImportArchive passes on; [Limits] limits what r unpacks to. The
// stream is first unpacked into staging. Only the members of a layout are accepted, each once, as
// regular files; anything else is refused.
func (c *Catalogue) ImportArchive(ctx context.Context, name string, r io.Reader) (job.Image, error) {
	if err := CheckName(name); err != nil {
		return job.Image{}, err
	}
	staging := filepath.Join(c.stagingDir(), rand.Text())
	img, err := c.importArchive(ctx, name, r, staging)
	if rerr := os.RemoveAll(staging); rerr != nil {
		c.log.Error("what an upload left cannot be removed", "err", rerr)
		err = errors.Join(err, rerr)
	}
	return img, classify(err)
}

func (c *Catalogue) importArchive(ctx context.Context, name string, r io.Reader, staging string) (job.Image, error) {
	for _, d := range []string{staging, filepath.Join(staging, "blobs"), filepath.Join(staging, "blobs", "sha256")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return job.Image{}, fmt.Errorf("make staging: %w", err)
		}
	}
	buffered := bufio.NewReaderSize(source{r}, 256<<10)
	stream := io.Reader(buffered)
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return job.Image{}, archiveError(err)
		}
		stream = z
	}
	stream = &bounded{ctx: ctx, r: stream, left: c.limits.ArchiveBytes,
		err: invalidf("archive unpacks to more than %d bytes", c.limits.ArchiveBytes)}
	if err := c.unpackArchive(stream, staging); err != nil {
		return job.Image{}, err
	}
	return c.importLayout(ctx, name, staging)
}

var memberRE = regexp.MustCompile(`^(oci-layout|index\.json|blobs/sha256/[0-9a-f]{64})$`)

// unpackArchive writes the members of a layout into dir. It skips manifest.json and repositories,
// which docker save adds.
func (c *Catalogue) unpackArchive(stream io.Reader, dir string) error {
	tr := tar.NewReader(stream)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return archiveError(err)
		}
		if n >= c.limits.ArchiveEntries {
			return invalidf("archive has more than %d members", c.limits.ArchiveEntries)
		}
		name := strings.TrimPrefix(hdr.Name, "./")
		switch {
		case hdr.Typeflag == tar.TypeDir && (path.Clean(name) == "." || path.Clean(name) == "blobs" || path.Clean(name) == "blobs/sha256"):
			continue
		case hdr.Typeflag == tar.TypeXGlobalHeader:
			continue
		case hdr.Typeflag != tar.TypeReg:
			return invalidf("archive member %.200q is not a regular file; send an OCI layout as a tar archive", hdr.Name)
		case name == "manifest.json" || name == "repositories":
			continue
		case !memberRE.MatchString(name):
			return invalidf("archive member %.200q is not part of an OCI layout; send a tar archive made by `skopeo copy … oci-archive:` or `docker save`", hdr.Name)
		}
		if err := writeMember(filepath.Join(dir, name), tr, hdr); err != nil {
			return err
		}
	}
}

func writeMember(to string, r io.Reader, hdr *tar.Header) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // staging, and a name of memberRE
	if errors.Is(err, fs.ErrExist) {
		return invalidf("archive has two members %.200q", hdr.Name)
	}
	if err != nil {
		return fmt.Errorf("create member: %w", err)
	}
	_, err = io.Copy(f, r)
	var perr *fs.PathError
	if err != nil && !errors.As(err, &perr) { // not of the file, so of the stream
		err = archiveError(err)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close member: %w", cerr)
	}
	return err
}

// archiveError classifies a read error of an upload: a limit's or the connection's own error stays,
// any other is the archive's fault.
func archiveError(err error) error {
	var r *readError
	var limit *job.Refusal
	switch {
	case errors.As(err, &r):
		return fmt.Errorf("read archive: %w", r.err)
	case errors.As(err, &limit):
		return limit
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalidf("archive is truncated; send it again")
	}
	return refuse(job.Invalid, "not a valid tar archive; send an OCI layout as tar or tar.gz", err)
}

// readError marks an error of an archive's source stream.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// source marks the errors of the stream that it reads.
type source struct{ r io.Reader }

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = &readError{err}
	}
	return n, err
}

// bounded reads at most left bytes, then fails with err. A stream of exactly that length passes.
// Reads fail once the context ends.
type bounded struct {
	ctx  context.Context //nolint:containedctx // of one import
	r    io.Reader
	left int64
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, &readError{context.Cause(b.ctx)}
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.err
	}
	return n, err
}
