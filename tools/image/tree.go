package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// tree is a root file system under construction, by path without a leading slash. Files belong to
// root unless their entry has another id.
type tree struct {
	entries map[string]*entry
}

type entry struct {
	kind byte // tar.TypeReg, TypeDir or TypeSymlink
	mode fs.FileMode
	id   int // UID and GID
	link string
	data []byte
}

// merged are the top-level directories that the image has in /usr, each with a symlink.
var merged = []string{"bin", "lib", "lib64", "sbin"}

func newTree() *tree {
	t := &tree{entries: map[string]*entry{}}
	for _, d := range merged {
		if d == "lib64" && libDir() != "usr/lib/x86_64-linux-gnu" {
			continue
		}
		t.dir("usr/"+d, 0o755)
		t.symlink(d, "usr/"+d)
	}
	return t
}

// clean returns the tree's path for a package's file.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, d := range merged {
		if strings.HasPrefix(name, d+"/") {
			return "usr/" + name
		}
	}
	return name
}

func (t *tree) put(name string, e *entry) {
	if dir := path.Dir(name); dir != "." && t.entries[dir] == nil {
		t.dir(dir, 0o755)
	}
	t.entries[name] = e
}

func (t *tree) dir(name string, mode fs.FileMode) { t.put(name, &entry{kind: tar.TypeDir, mode: mode}) }

func (t *tree) file(name string, mode fs.FileMode, data []byte) {
	t.put(name, &entry{kind: tar.TypeReg, mode: mode, data: data})
}

func (t *tree) symlink(name, to string) {
	t.put(name, &entry{kind: tar.TypeSymlink, mode: 0o777, link: to})
}

// remove removes name and everything below it.
func (t *tree) remove(name string) {
	for p := range t.entries {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(t.entries, p)
		}
	}
}

// paths returns all paths in order, directories before their content.
func (t *tree) paths() []string {
	names := make([]string, 0, len(t.entries))
	for p := range t.entries {
		names = append(names, p)
	}
	sort.Strings(names)
	return names
}

// unpack adds a package's files. Owners and set-id bits are dropped. Devices and other special
// files are refused.
func (t *tree) unpack(debPath string) (err error) {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", debPath) //nolint:gosec // a file of our cache
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		if werr := cmd.Wait(); werr != nil && err == nil {
			err = fmt.Errorf("dpkg-deb: %w: %s", werr, stderr.String())
		}
	}()
	r := tar.NewReader(pipe)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, pipe)
			return err
		}
		if err != nil {
			return errors.Join(err, cmd.Process.Kill())
		}
		name := clean(h.Name)
		mode := fs.FileMode(h.Mode) & 0o777 //nolint:gosec // nine bits
		switch h.Typeflag {
		case tar.TypeDir:
			if e := t.entries[name]; name != "" && (e == nil || e.kind == tar.TypeDir) {
				t.dir(name, mode)
			}
		case tar.TypeReg:
			data, err := io.ReadAll(r)
			if err != nil {
				return errors.Join(err, cmd.Process.Kill())
			}
			t.file(name, mode, data)
		case tar.TypeSymlink:
			t.symlink(name, h.Linkname)
		case tar.TypeLink:
			to := t.entries[clean(h.Linkname)]
			if to == nil || to.kind != tar.TypeReg {
				return errors.Join(fmt.Errorf("hard link %s to the unknown %s", h.Name, h.Linkname), cmd.Process.Kill())
			}
			t.file(name, to.mode, to.data)
		default:
			return errors.Join(fmt.Errorf("%s has unsupported type %q", h.Name, h.Typeflag), cmd.Process.Kill())
		}
	}
}

// writeTo creates the tree's directories, files and links under root, owned by the caller. root
// must not exist.
func (t *tree) writeTo(root string) error {
	if err := os.Mkdir(root, 0o700); err != nil {
		return err
	}
	for _, name := range t.paths() {
		e, p := t.entries[name], filepath.Join(root, name)
		var err error
		switch e.kind {
		case tar.TypeDir:
			err = os.Mkdir(p, 0o700)
		case tar.TypeReg:
			err = os.WriteFile(p, e.data, e.mode|0o600)
		case tar.TypeSymlink:
			err = os.Symlink(e.link, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeTar writes the tree as a layer.
func (t *tree) writeTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, name := range t.paths() {
		e := t.entries[name]
		h := &tar.Header{
			Typeflag: e.kind, Name: name, Linkname: e.link, Size: int64(len(e.data)), Mode: tarMode(e.mode),
			Uid: e.id, Gid: e.id, ModTime: epoch,
		}
		if e.kind == tar.TypeDir {
			h.Name += "/"
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := tw.Write(e.data); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return tw.Close()
}

// tarMode returns a mode in tar's bits: permissions and, for /tmp, the sticky bit.
func tarMode(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}
