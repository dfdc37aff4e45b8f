package rootfs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Compression of a layer's blob.
type Compression string

// The compressions that layers come in.
const (
	Uncompressed Compression = "none"
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
)

// Layer is one layer, bottom first, as a blob that the child reads through its descriptor.
type Layer struct {
	Name        string   // how errors call it, e.g. "layer 2 of 5"
	Blob        *os.File // a regular file; stays the caller's, its offset is not used
	Size        int64    // of the blob, checked
	Digest      string   // of the blob, "sha256:<hex>", checked
	DiffID      string   // of the uncompressed tar stream, "sha256:<hex>", checked
	Compression Compression
}

// TreeSource is what a root is made from.
type TreeSource struct {
	Layers []Layer
	// MountPoints puts the sandbox's mount points in (see MountPoints); true for every image that
	// jobs run in.
	MountPoints bool
}

// MountPoints are the directories that the sandbox mounts something on, with their modes. In a root
// built with TreeSource.MountPoints each is a real directory owned by root, whatever the image had
// in its place; /.tsubo is empty.
func MountPoints() map[string]fs.FileMode {
	return map[string]fs.FileMode{
		".tsubo": 0o755, "code": 0o755, "dev": 0o755, "input": 0o755, "output": 0o755, "proc": 0o755, "sys": 0o755,
		"tmp": 0o777 | fs.ModeSticky,
	}
}

// GuestFile is one entry of a small root made by BuildTree, owned by root.
type GuestFile struct {
	Mode fs.FileMode // permission bits, and fs.ModeDir or nothing for the type
	Data []byte
}

// treeLayer writes files as one layer. Parents that are not listed come in as 0755 directories.
// Every time stamp is zero, so that equal files give equal roots.
func treeLayer(files map[string]GuestFile) (Layer, error) {
	all := make(map[string]GuestFile, len(files))
	for name, f := range files {
		if name != path.Clean(name) || path.IsAbs(name) || !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
			return Layer{}, fmt.Errorf("tree entry %q: name must be a clean relative path", name)
		}
		if t := f.Mode.Type(); t != 0 && t != fs.ModeDir {
			return Layer{}, fmt.Errorf("tree entry %q: only files and directories, not %s", name, t)
		}
		all[name] = f
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := files[dir]; !ok {
				all[dir] = GuestFile{Mode: fs.ModeDir | 0o755}
			}
		}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names) // parents come before what is in them

	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, name := range names {
		f := all[name]
		hdr := &tar.Header{Name: name, Mode: int64(f.Mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: int64(len(f.Data))}
		if f.Mode.IsDir() {
			hdr.Typeflag, hdr.Size, hdr.Name = tar.TypeDir, 0, name+"/"
			if f.Mode&fs.ModeSticky != 0 {
				hdr.Mode |= 0o1000
			}
		}
		if err := w.WriteHeader(hdr); err != nil {
			return Layer{}, fmt.Errorf("tree entry %q: %w", name, err)
		}
		if hdr.Typeflag == tar.TypeReg {
			if _, err := w.Write(f.Data); err != nil {
				return Layer{}, fmt.Errorf("tree entry %q: %w", name, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return Layer{}, fmt.Errorf("close tree layer: %w", err)
	}
	return memLayer("files", buf.Bytes())
}

// memLayer is data as an uncompressed layer in memory. The caller closes Blob.
func memLayer(name string, data []byte) (Layer, error) {
	fd, err := unix.MemfdCreate("tsubo-layer", unix.MFD_CLOEXEC)
	if err != nil {
		return Layer{}, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memfd:tsubo-layer")
	if _, err := io.Copy(f, bytes.NewReader(data)); err != nil {
		f.Close() //nolint:errcheck,gosec // the write's error is the one that matters
		return Layer{}, fmt.Errorf("write layer of %d bytes: %w", len(data), err)
	}
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	return Layer{Name: name, Blob: f, Size: int64(len(data)), Digest: digest, DiffID: digest, Compression: Uncompressed}, nil
}
