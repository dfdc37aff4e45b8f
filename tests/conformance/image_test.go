package conformance

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// image is an unpacked OCI image.
type image struct {
	root string
	env  []string
}

// unpack lays the image's layers out in a temporary directory. The image is our own: nothing here
// defends against it.
func unpack(t *testing.T, layout string) image {
	t.Helper()
	type descriptor struct{ MediaType, Digest string }
	blob := func(d string) string {
		return filepath.Join(layout, "blobs", strings.Replace(d, ":", "/", 1))
	}
	read := func(path string, into any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var index struct{ Manifests []descriptor }
	read(filepath.Join(layout, "index.json"), &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(blob(index.Manifests[0].Digest), &manifest)
	var config struct {
		Config struct {
			Env []string
		} `json:"config"`
	}
	read(blob(manifest.Config.Digest), &config)
	img := image{root: t.TempDir(), env: config.Config.Env}
	if err := os.Chmod(img.root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		if err := img.addLayer(blob(l.Digest)); err != nil {
			t.Fatalf("layer %s: %v", l.Digest, err)
		}
	}
	return img
}

func (img image) addLayer(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var layer io.Reader = bufio.NewReader(f)
	if magic, err := layer.(*bufio.Reader).Peek(2); err == nil && string(magic) == "\x1f\x8b" {
		if layer, err = gzip.NewReader(layer); err != nil {
			return err
		}
	}
	for tr := tar.NewReader(layer); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := img.addEntry(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (img image) addEntry(h *tar.Header, content io.Reader) error {
	path := filepath.Join(img.root, h.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, path)
	case tar.TypeLink:
		return os.Link(filepath.Join(img.root, h.Linkname), path)
	case tar.TypeReg:
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	default:
		return fmt.Errorf("type %c", h.Typeflag)
	}
	if err := os.Chown(path, h.Uid, h.Gid); err != nil {
		return err
	}
	return os.Chmod(path, h.FileInfo().Mode().Perm())
}
