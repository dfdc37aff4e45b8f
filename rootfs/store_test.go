package rootfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	erofs "github.com/erofs/go-erofs"
	"github.com/klauspost/compress/zstd"

	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childName && os.Args[2] == "probe" {
		os.Exit(probe())
	}
	MaybeChild()
	os.Exit(m.Run())
}

func requireErofs(t *testing.T) {
	t.Helper()
	need.Root(t)
	_, err := exec.LookPath("mkfs.erofs")
	need.That(t, "erofs", err == nil)
	s := openStore(t, Options{})
	if version, kind, why := s.Tool(); kind != EROFS {
		t.Fatalf("mkfs.erofs %s is not used: %s", version, why)
	}
}

const noTool = "/nonexistent/mkfs.erofs"

func openStore(t *testing.T, opts Options) *Store {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(filepath.Join(t.TempDir(), "rootfs"), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

func newLayer(t *testing.T, c Compression, tarball []byte) Layer {
	t.Helper()
	blob := tarball
	switch c {
	case Gzip:
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(tarball); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		blob = b.Bytes()
	case Zstd:
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		blob = w.EncodeAll(tarball, nil)
	}
	return blobLayer(t, c, blob, tarball)
}

func blobLayer(t *testing.T, c Compression, blob, tarball []byte) Layer {
	t.Helper()
	l, err := memLayer("layer 1 of 1", blob)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Blob.Close() }) //nolint:errcheck,gosec // memory
	l.Compression, l.DiffID = c, sum(tarball)
	return l
}

func source(t *testing.T, layers ...[]tartest.Entry) TreeSource {
	t.Helper()
	src := TreeSource{MountPoints: true}
	for _, entries := range layers {
		src.Layers = append(src.Layers, newLayer(t, Uncompressed, tartest.Archive(entries...)))
	}
	return src
}

var someKey = "sha256:" + strings.Repeat("ab", 32)

func mustBuild(t *testing.T, s *Store, key string, src TreeSource) Root {
	t.Helper()
	root, err := s.Build(context.Background(), key, src)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return root
}

// rootFS opens a root of either kind.
func rootFS(t *testing.T, r Root) fs.FS {
	t.Helper()
	if r.Kind == Directory {
		return os.DirFS(r.Path)
	}
	f, err := os.Open(r.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) //nolint:errcheck,gosec // only read
	fsys, err := erofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// nothingLeft checks that a failed build left neither a root nor anything in staging.
func nothingLeft(t *testing.T, s *Store) {
	t.Helper()
	for _, d := range []string{s.rootsDir(), s.stagingDir()} {
		entries, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left behind: %s", filepath.Join(filepath.Base(d), e.Name()))
		}
	}
	if n := len(s.live) + len(s.builds) + len(s.leases); n != 0 {
		t.Errorf("%d builds, leases or staging names are still remembered", n)
	}
}

// bothKinds runs a test with an EROFS store and with a directory store.
func bothKinds(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Helper()
	t.Run("directory", func(t *testing.T) {
		need.Root(t)
		f(t, openStore(t, Options{MkfsErofs: noTool}))
	})
	t.Run("erofs", func(t *testing.T) {
		requireErofs(t)
		f(t, openStore(t, Options{}))
	})
}

// A whiteout is one by its name, whatever its type, and an entry that is left out removes what it
// replaces all the same.
func TestWhatIsLeftOutHidesWhatLiesBelow(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		var lower []tartest.Entry
		for _, name := range []string{"char", "block", "fifo", "alias", "link", "dir", "hard", "sym", "char-wh", "block-wh", "fifo-wh"} {
			lower = append(lower, tartest.File("gone-"+name, "x"))
		}
		lower = append(lower, tartest.Dir("opaque"), tartest.File("opaque/below", "x"), tartest.Dir("tree"), tartest.Dir("tree/sub"), tartest.File("tree/sub/f", "x"),
			tartest.Symlink("elsewhere", "kept"), tartest.Dir("kept"), tartest.File("kept/f", "x"), tartest.File("kept/g", "x"))
		src := TreeSource{Layers: []Layer{newLayer(t, Gzip, tartest.Archive(lower...)), newLayer(t, Gzip, tartest.Archive(
			tartest.File("gone-link", "same layer"),
			tartest.Entry{Name: "gone-char", Type: '3', Major: 1, Minor: 3}, tartest.Entry{Name: "gone-block", Type: '4', Major: 8}, tartest.Entry{Name: "gone-fifo", Type: '6'},
			tartest.Hardlink("gone-alias", "gone-char"), tartest.Entry{Name: "gone-link", Type: '6'}, tartest.Entry{Name: "tree", Type: '3'},
			tartest.Entry{Name: "elsewhere/f", Type: '6'}, // below a link: what it leads to
			tartest.Entry{Name: ".wh.gone-dir", Type: '5'}, tartest.Hardlink(".wh.gone-hard", "kept/g"), tartest.Symlink(".wh.gone-sym", "kept"),
			tartest.Entry{Name: ".wh.gone-char-wh", Type: '3'}, tartest.Entry{Name: ".wh.gone-block-wh", Type: '4'}, tartest.Entry{Name: ".wh.gone-fifo-wh", Type: '6'},
			tartest.Entry{Name: "opaque/.wh..wh..opq", Type: '3'}, tartest.File("opaque/above", "y"),
		))}}
		fsys := rootFS(t, mustBuild(t, s, someKey, src))
		var got []string
		if err := fs.WalkDir(fsys, ".", func(name string, _ fs.DirEntry, err error) error {
			got = append(got, name)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if want := []string{".", "elsewhere", "kept", "kept/g", "opaque", "opaque/above"}; !slices.Equal(got, want) {
			t.Errorf("tree %q, want %q", got, want)
		}
	})
}

func TestBuild(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		src := TreeSource{MountPoints: true, Layers: []Layer{
			newLayer(t, Gzip, tartest.Archive(
				tartest.Dir("usr"), tartest.Dir("usr/bin/"), tartest.Entry{Name: "usr/bin/tool", Mode: 0o4755, Size: -1, Body: "#!", ModTime: 1234567},
				tartest.Symlink("bin", "usr/bin"), tartest.File("gone", "x"), tartest.Dir("old"), tartest.File("old/a", "a"), tartest.File("old/b", "b"))),
			newLayer(t, Zstd, tartest.Archive(
				tartest.File(".wh.gone", ""), tartest.File("old/.wh..wh..opq", ""), tartest.File("old/c", "c"),
				tartest.Entry{Name: "home/sandbox/mine", Size: -1, Mode: 0o600, UID: 1000, GID: 1000, Body: "m"},
				tartest.Entry{Name: "big", Size: -1, Mode: 0o444, UID: 65535, GID: 65535, Body: strings.Repeat("0123456789", 100_000)},
				tartest.Hardlink("link", "big"))),
		}}
		root := mustBuild(t, s, someKey, src)
		_, kind, _ := s.Tool()
		if root.Kind != kind || root.Key != someKey || root.Size == 0 {
			t.Fatalf("root %+v of a store that makes %s", root, kind)
		}
		fsys := rootFS(t, root)
		for _, want := range []struct {
			name     string
			mode     fs.FileMode
			uid, gid uint32
			content  string
		}{
			{name: ".", mode: fs.ModeDir | 0o755},
			{name: "usr/bin/tool", mode: 0o755, content: "#!"},
			{name: "bin", mode: fs.ModeSymlink | 0o777},
			{name: "old/c", mode: 0o644, content: "c"},
			{name: "home/sandbox/mine", mode: 0o600, uid: 1000, gid: 1000, content: "m"},
			{name: "link", mode: 0o444, uid: 65535, gid: 65535, content: strings.Repeat("0123456789", 100_000)},
			{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
			{name: "code", mode: fs.ModeDir | 0o755},
			{name: ".tsubo", mode: fs.ModeDir | 0o755},
		} {
			fi, err := fs.Lstat(fsys, want.name)
			if err != nil {
				t.Error(err)
				continue
			}
			mode, uid, gid := attributes(t, fi)
			if mode != want.mode || uid != want.uid || gid != want.gid {
				t.Errorf("%s: %v %d:%d, expected %v %d:%d", want.name, mode, uid, gid, want.mode, want.uid, want.gid)
			}
			if want.content == "" {
				continue
			}
			if b, err := fs.ReadFile(fsys, want.name); err != nil || string(b) != want.content {
				t.Errorf("%s: content of %d bytes, %v", want.name, len(b), err)
			}
		}
		if fi, err := fs.Stat(fsys, "usr/bin/tool"); err != nil || mtime(fi) != 1234567 {
			t.Errorf("time stamp of a file is not the layer's: %v", err)
		}
		for _, gone := range []string{"gone", "old/a", "old/b", "old/.wh..wh..opq", ".wh.gone"} {
			if _, err := fs.Lstat(fsys, gone); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: whited out, but %v", gone, err)
			}
		}
		if err := s.Verify(someKey); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(s.stagingDir()); len(left) != 0 {
			t.Errorf("staging holds %d entries", len(left))
		}
	})
}
