package cli

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/client"
)

// listImages implements tsubo images list.
func (t *tool) listImages(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	images, err := daemon.Images(c.Context)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tDIGEST\tROOTFS\tBYTES\tCREATED")
	for _, i := range images {
		name := i.Name
		if name == "" {
			name = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, i.Digest, i.Rootfs, i.SizeBytes,
			i.CreatedAt.UTC().Format(time.RFC3339))
	}
	return w.Flush()
}

// importImage implements tsubo images import PATH.
func (t *tool) importImage(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	path := c.Args().First()
	name := c.String("name")
	if name == "" {
		base := filepath.Base(filepath.Clean(path))
		name = strings.TrimSuffix(strings.TrimSuffix(base, ".tar"), ".oci")
	}
	archive, err := openArchive(path)
	if err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	image, err := daemon.ImportImage(c.Context, name, archive)
	var refused *client.Error
	if closeErr := archive.Close(); closeErr != nil && (err == nil || errors.As(err, &refused)) {
		return closeErr // the daemon only noticed that the archive ended early
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s %s\n", image.Name, image.Digest)
	return err
}

// openArchive opens an archive file, or packs a layout directory while the archive is read.
func openArchive(path string) (io.ReadCloser, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.Mode().IsRegular():
		return os.Open(path)
	case !info.IsDir():
		return nil, fmt.Errorf("%s is neither a directory nor a file", path)
	}
	if _, err := os.Stat(filepath.Join(path, "index.json")); err != nil {
		return nil, fmt.Errorf("%s is no OCI image layout: %w", path, err)
	}
	r, w := io.Pipe()
	a := &packedLayout{PipeReader: r, done: make(chan error, 1)}
	go func() {
		err := pack(w, path)
		_ = w.CloseWithError(err) // never fails
		a.done <- err
	}()
	return a, nil
}

// packedLayout is a tar stream written by a goroutine. Close waits for the goroutine.
type packedLayout struct {
	*io.PipeReader
	done chan error
}

// Close stops the goroutine and returns its error, unless the reader just stopped early.
func (a *packedLayout) Close() error {
	_ = a.PipeReader.Close() // never fails
	if err := <-a.done; !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

// pack writes the regular files below dir as a tar stream. Links and special files are errors: a
// layout has none.
func pack(w io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	out := tar.NewWriter(w)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s in the layout is no regular file", name)
		}
		return packFile(out, root, name)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return out.Close()
}

func packFile(out *tar.Writer, root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := out.WriteHeader(
		&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
