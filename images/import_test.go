package images

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

func TestImportLayout(t *testing.T) {
	for _, media := range []string{"", "+gzip", "+zstd"} {
		t.Run("tar"+media, func(t *testing.T) {
			f := newFixture(t)
			l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{media: media, env: []string{"A=1", "NONE", "discovery.type=x", "my-var=1", "BASH_FUNC_x%%=() {\n}", "=x", "A B=", "PATH=/bin:/x=y"}, cwd: "/srv/../app/"})
			img, err := f.cat.ImportLayout(context.Background(), "python", l.dir)
			if err != nil {
				t.Fatal(err)
			}
			if img.Name != "python" || img.Digest != l.manifest || img.Rootfs != "directory" || img.CreatedAt.IsZero() {
				t.Errorf("image %+v", img)
			}
			use, err := f.cat.Use("python")
			if err != nil {
				t.Fatal(err)
			}
			defer use.Release()
			if !slices.Equal(use.Config.Env, []string{"A=1", "discovery.type=x", "my-var=1", "BASH_FUNC_x%%=() {\n}", "A B=", "PATH=/bin:/x=y"}) || use.Config.WorkingDir != "/app" {
				t.Errorf("config %+v", use.Config)
			}
			if got := readString(t, filepath.Join(use.Root.Path, "etc", "hello")); got != "hi" {
				t.Errorf("content %q", got)
			}
			if err := f.roots.Remove(img.Digest); err == nil {
				t.Error("the root of an image in use was removed")
			}
			for _, ref := range []string{"python", l.manifest} {
				if got, err := f.cat.Resolve(ref); err != nil || got != img {
					t.Errorf("Resolve(%q) = %+v, %v", ref, got, err)
				}
			}
			for _, ref := range []string{"", "nope", "sha256:", "sha256:" + strings.Repeat("0", 64), "../x"} {
				if _, err := f.cat.Resolve(ref); job.ReasonOf(err) != job.NotFound {
					t.Errorf("Resolve(%q): %v", ref, err)
				}
			}

			again := openAt(t, f.state, Limits{})
			if list := again.cat.List(); len(list) != 1 || list[0] != img {
				t.Errorf("after a restart: %+v", list)
			}
		})
	}
}

func TestPlatform(t *testing.T) {
	other := "riscv64"
	if runtime.GOARCH == other {
		other = "s390x"
	}
	platform := func(arch string) object { return object{"os": "linux", "architecture": arch} }
	tests := []struct {
		name  string
		index func(t *testing.T, l testLayout, index object)
		ok    bool
	}{
		{"one without platform", func(*testing.T, testLayout, object) {}, true},
		{"two platforms", func(t *testing.T, l testLayout, index object) {
			ours := index["manifests"].([]any)[0].(object)
			ours["platform"] = platform(runtime.GOARCH)
			theirs := l.put(t, typeManifest, []byte(`{"schemaVersion":2}`))
			theirs["platform"] = platform(other)
			index["manifests"] = []any{theirs, ours}
		}, true},
		{"index in index", func(t *testing.T, l testLayout, index object) {
			inner := l.put(t, typeIndex, marshal(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": index["manifests"]}))
			index["manifests"] = []any{inner}
		}, true},
		{"index in index in index", func(t *testing.T, l testLayout, index object) {
			for range 2 {
				inner := l.put(t, typeIndex, marshal(t, object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": index["manifests"]}))
				index["manifests"] = []any{inner}
			}
		}, false},
		{"only another platform", func(_ *testing.T, _ testLayout, index object) {
			index["manifests"].([]any)[0].(object)["platform"] = platform(other)
		}, false},
		{"two images", func(t *testing.T, l testLayout, index object) {
			second := l.put(t, typeManifest, append(slices.Clone(l.manifestJSON), ' '))
			index["manifests"] = append(index["manifests"].([]any), second)
		}, false},
		{"none", func(_ *testing.T, _ testLayout, index object) { index["manifests"] = []any{} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			dir := filepath.Join(t.TempDir(), "x")
			l := writeLayout(t, dir, layoutSpec{})
			writeLayout(t, dir, layoutSpec{index: func(index object) { tt.index(t, l, index) }})
			img, err := f.cat.ImportLayout(context.Background(), "x", dir)
			if tt.ok {
				if err != nil || img.Digest != l.manifest {
					t.Errorf("%+v, %v", img, err)
				}
				return
			}
			if job.ReasonOf(err) != job.Invalid {
				t.Errorf("error %v", err)
			}
			f.nothingLeft(t)
		})
	}
}

// A layout can be wrong in many ways: each is the image's fault, reports which file, shows no host
// path, and leaves nothing.
func TestBadLayout(t *testing.T) {
	inConfig := func(key string, value any) func(object) {
		return func(c object) { c["config"].(object)[key] = value }
	}
	overwrite := func(digest func(testLayout) string, change func([]byte) []byte) func(*testing.T, testLayout) {
		return func(t *testing.T, l testLayout) {
			name := l.blob(digest(l))
			writeFile(t, name, change([]byte(readString(t, name))))
		}
	}
	manifestOf := func(l testLayout) string { return l.manifest }
	configOf := func(l testLayout) string { return l.config }
	layerOf := func(l testLayout) string { return l.firstLayer }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	truncate := func(b []byte) []byte { return b[:len(b)/2] }
	remove := func(name func(testLayout) string) func(*testing.T, testLayout) {
		return func(t *testing.T, l testLayout) {
			if err := os.RemoveAll(name(l)); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(name func(testLayout) string) func(*testing.T, testLayout) {
		return func(t *testing.T, l testLayout) {
			real := filepath.Join(t.TempDir(), "real")
			if err := os.Rename(name(l), real); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(real, name(l)); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := func(name string) func(testLayout) string {
		return func(l testLayout) string { return filepath.Join(l.dir, name) }
	}
	firstDesc := func(m object, key string) object {
		if key == "config" {
			return m["config"].(object)
		}
		return m[key].([]any)[0].(object)
	}
	set := func(key, field string, value any) func(object) {
		return func(m object) { firstDesc(m, key)[field] = value }
	}

	tests := []struct {
		name  string
		spec  layoutSpec
		after func(*testing.T, testLayout)
		want  string // part of the message
	}{
		{name: "manifest flipped", after: overwrite(manifestOf, flip), want: "manifest sha256:"},
		{name: "manifest truncated", after: overwrite(manifestOf, truncate), want: "manifest sha256:"},
		{name: "config flipped", after: overwrite(configOf, flip), want: "configuration sha256:"},
		{name: "config truncated", after: overwrite(configOf, truncate), want: "configuration sha256:"},
		{name: "layer flipped", after: overwrite(layerOf, flip), want: "layer 1 of 1"},
		{name: "layer truncated", after: overwrite(layerOf, truncate), want: "layer 1 of 1"},
		{name: "layer longer", after: overwrite(layerOf, func(b []byte) []byte { return append(b, 0) }), want: "layer 1 of 1"},
		{name: "gzip layer flipped", spec: layoutSpec{media: "+gzip"}, after: overwrite(layerOf, flip), want: "layer 1 of 1"},
		{name: "zstd layer flipped", spec: layoutSpec{media: "+zstd"}, after: overwrite(layerOf, flip), want: "layer 1 of 1"},
		{name: "no oci-layout", after: remove(file("oci-layout")), want: "oci-layout is missing"},
		{name: "no index.json", after: remove(file("index.json")), want: "index.json is missing"},
		{name: "no manifest", after: remove(func(l testLayout) string { return l.blob(l.manifest) }), want: "is missing"},
		{name: "no config", after: remove(func(l testLayout) string { return l.blob(l.config) }), want: "is missing"},
		{name: "no layer", after: remove(func(l testLayout) string { return l.blob(l.firstLayer) }), want: "is missing"},
		{name: "index.json a link", after: link(file("index.json")), want: "symbolic link"},
		{name: "oci-layout a link", after: link(file("oci-layout")), want: "symbolic link"},
		{name: "blobs a link", after: link(file("blobs")), want: "symbolic link"},
		{name: "manifest a link", after: link(func(l testLayout) string { return l.blob(l.manifest) }), want: "symbolic link"},
		{name: "config a link", after: link(func(l testLayout) string { return l.blob(l.config) }), want: "symbolic link"},
		{name: "layer a link", after: link(func(l testLayout) string { return l.blob(l.firstLayer) }), want: "symbolic link"},
		{name: "index.json a directory", after: func(t *testing.T, l testLayout) {
			remove(file("index.json"))(t, l)
			if err := os.Mkdir(filepath.Join(l.dir, "index.json"), 0o755); err != nil { //nolint:gosec // a layout
				t.Fatal(err)
			}
		}, want: "not a regular file"},
		{name: "index.json huge", after: func(t *testing.T, l testLayout) {
			if err := os.Truncate(filepath.Join(l.dir, "index.json"), 4<<20+1); err != nil {
				t.Fatal(err)
			}
		}, want: "at most 4194304"},
		{name: "index.json no JSON", after: func(t *testing.T, l testLayout) { writeFile(t, filepath.Join(l.dir, "index.json"), []byte("{")) }, want: "index.json is not"},
		{name: "oci-layout of another version", after: func(t *testing.T, l testLayout) {
			writeFile(t, filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"2"}`))
		}, want: "oci-layout"},

		{name: "size of manifest", spec: layoutSpec{index: set("manifests", "size", 1)}, want: "descriptor says 1"},
		{name: "size of config", spec: layoutSpec{manifest: set("config", "size", 1<<40)}, want: "descriptor says"},
		{name: "size of layer", spec: layoutSpec{manifest: set("layers", "size", 1)}, want: "the manifest says 1"},
		{name: "negative size of layer", spec: layoutSpec{manifest: set("layers", "size", -1)}, want: "the manifest says -1"},
		{name: "digest a path", spec: layoutSpec{index: set("manifests", "digest", "sha256:../../../../etc/passwd")}, want: "must be sha256"},
		{name: "digest of config a path", spec: layoutSpec{manifest: set("config", "digest", "sha256:../../../../etc/passwd")}, want: "must be sha256"},
		{name: "digest of layer a path", spec: layoutSpec{manifest: set("layers", "digest", "sha256:../../../../etc/passwd")}, want: "must be sha256"},
		{name: "digest short", spec: layoutSpec{index: set("manifests", "digest", "sha256:"+strings.Repeat("a", 63))}, want: "must be sha256"},
		{name: "digest upper case", spec: layoutSpec{index: set("manifests", "digest", "sha256:"+strings.Repeat("A", 64))}, want: "must be sha256"},
		{name: "digest md5", spec: layoutSpec{index: set("manifests", "digest", "md5:"+strings.Repeat("a", 32))}, want: "must be sha256"},
		{name: "digest sha512", spec: layoutSpec{index: set("manifests", "digest", "sha512:"+strings.Repeat("a", 128))}, want: "must be sha256"},
		{name: "digest empty", spec: layoutSpec{index: set("manifests", "digest", "")}, want: "must be sha256"},
		{name: "digest with NUL", spec: layoutSpec{index: set("manifests", "digest", "sha256:"+strings.Repeat("a", 63)+"\x00")}, want: "must be sha256"},

		{name: "layers and manifests", spec: layoutSpec{manifest: func(m object) { m["manifests"] = []any{m["config"]} }}, want: "not valid"},
		{name: "schema 1", spec: layoutSpec{manifest: func(m object) {
			clear(m)
			m["schemaVersion"], m["name"], m["tag"], m["fsLayers"], m["history"] = 1, "x", "y", []any{}, []any{}
		}}, want: "manifest sha256:"},
		{name: "an artifact", spec: layoutSpec{manifest: set("config", "mediaType", "application/vnd.oci.empty.v1+json")}, want: "artifact"},
		{name: "no layers", spec: layoutSpec{layers: [][]tartest.Entry{}}, want: "0 layers"},
		{name: "layer with an address", spec: layoutSpec{manifest: set("layers", "urls", []string{"http://127.0.0.1:1/"})}, want: "address of its own"},
		{name: "layer of unknown type", spec: layoutSpec{manifest: set("layers", "mediaType", typeLayer+"+xz")}, want: "only tar"},
		{name: "layer encrypted", spec: layoutSpec{manifest: set("layers", "mediaType", typeLayer+"+gzip+encrypted")}, want: "only tar"},
		{name: "layer not distributable", spec: layoutSpec{manifest: set("layers", "mediaType", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")}, want: "only tar"},
		{name: "layer not gzip", spec: layoutSpec{manifest: set("layers", "mediaType", typeLayer+"+gzip")}, want: "layer 1 of 1"},
		{name: "layer not zstd", spec: layoutSpec{manifest: set("layers", "mediaType", typeLayer+"+zstd")}, want: "layer 1 of 1"},
		{name: "diff id wrong", spec: layoutSpec{config: func(c object) { c["rootfs"].(object)["diff_ids"] = []string{digestOf(nil)} }}, want: "diff_ids"},
		{name: "diff ids too many", spec: layoutSpec{config: func(c object) { c["rootfs"].(object)["diff_ids"] = []string{digestOf(nil), digestOf(nil)} }}, want: "diff_ids"},
		{name: "diff ids missing", spec: layoutSpec{config: func(c object) { delete(c, "rootfs") }}, want: "diff_ids"},
		{name: "windows", spec: layoutSpec{config: func(c object) { c["os"] = "windows" }}, want: "windows"},
		{name: "wrong architecture", spec: layoutSpec{config: func(c object) { c["architecture"] = "s390y" }}, want: "s390y"},
		{name: "config no object", spec: layoutSpec{config: func(c object) { c["config"] = []int{1} }}, want: "configuration"},

		{name: "env name with NUL", spec: layoutSpec{env: []string{"A\x00B=1"}}, want: "NUL"},
		{name: "env with NUL", spec: layoutSpec{env: []string{"A=\x00"}}, want: "NUL"},
		{name: "env of many", spec: layoutSpec{env: slices.Repeat([]string{"A=1"}, 1025)}, want: "1025 entries"},
		{name: "env large", spec: layoutSpec{env: []string{"A=" + strings.Repeat("x", 70_000)}}, want: "bytes"},
		{name: "env no list", spec: layoutSpec{config: inConfig("Env", "A=1")}, want: "configuration"},
		{name: "working directory relative", spec: layoutSpec{cwd: "../.."}, want: "working directory"},
		{name: "working directory long", spec: layoutSpec{cwd: "/" + strings.Repeat("x", 5000)}, want: "working directory"},
		{name: "working directory with NUL", spec: layoutSpec{cwd: "/a\x00b"}, want: "working directory"},

		{name: "name with NUL in a layer", spec: layoutSpec{layers: [][]tartest.Entry{{
			{Name: "x", PAX: [][2]string{{"path", "a\x00b"}}, Size: -1, Mode: 0o644},
		}}}, want: "layer 1 of 1"},
		{name: "entry above the root", spec: layoutSpec{layers: [][]tartest.Entry{{tartest.File("../../pwn", "x")}}}, want: `"../../pwn"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			l := writeLayout(t, filepath.Join(t.TempDir(), "x"), tt.spec)
			if tt.after != nil {
				tt.after(t, l)
			}
			_, err := f.cat.ImportLayout(context.Background(), "x", l.dir)
			var e *job.Refusal
			if !errors.As(err, &e) || e.Reason != job.Invalid {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(e.Message, tt.want) {
				t.Errorf("message %q does not say %q", e.Message, tt.want)
			}
			for _, path := range []string{f.state, filepath.Dir(l.dir), "/tmp/"} {
				if strings.Contains(e.Message, path) {
					t.Errorf("message shows a host path: %q", e.Message)
				}
			}
			f.nothingLeft(t)

			// An honest import afterwards is not harmed.
			if _, err := f.cat.ImportLayout(context.Background(), "x", writeLayout(t, filepath.Join(t.TempDir(), "y"), layoutSpec{}).dir); err != nil {
				t.Errorf("an honest import afterwards: %v", err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"python", "python-3.11", "ghcr.io/org/image:v1.2", "a__b", "localhost:5000/x"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/../b", "/a", "a/", "-a", "A", "a b", "a\x00", "a\n", "sha256:" + strings.Repeat("a", 64), "sha256:x", strings.Repeat("a", 256), "é"} {
		if err := CheckName(name); job.ReasonOf(err) != job.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestImportChecksName: both ways to import refuse a bad name before they read the image.
func TestImportChecksName(t *testing.T) {
	f := newFixture(t)
	unread := iotest.ErrReader(errors.New("the archive was read"))
	if _, err := f.cat.ImportArchive(t.Context(), "../x", unread); job.ReasonOf(err) != job.Invalid {
		t.Errorf("archive: error %v", err)
	}
	l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{})
	if _, err := f.cat.ImportLayout(t.Context(), "../x", l.dir); job.ReasonOf(err) != job.Invalid {
		t.Errorf("layout: error %v", err)
	}
	f.nothingLeft(t)
}

func TestPreload(t *testing.T) {
	f := newFixture(t)
	top := t.TempDir()
	one := writeLayout(t, filepath.Join(top, "one"), layoutSpec{})
	two := writeLayout(t, filepath.Join(top, "two"), layoutSpec{env: []string{"A=2"}})
	bad := writeLayout(t, filepath.Join(top, "bad"), layoutSpec{})
	writeFile(t, bad.blob(bad.manifest), []byte("{}"))
	alone := writeLayout(t, filepath.Join(t.TempDir(), "alone"), layoutSpec{env: []string{"A=3"}})
	dirs := []string{top, alone.dir, filepath.Join(top, "does-not-exist")}

	names := func(list []job.Image) (out []string) {
		for _, img := range list {
			out = append(out, img.Name)
		}
		return out
	}
	err := f.cat.Preload(context.Background(), dirs)
	if job.ReasonOf(err) != job.Invalid || !strings.Contains(err.Error(), bad.dir) || strings.Contains(err.Error(), one.dir) {
		t.Errorf("the bad layout is reported as %v", err)
	}
	first := f.cat.List()
	if got := names(first); !slices.Equal(got, []string{"alone", "one", "two"}) {
		t.Fatalf("images %v", got)
	}

	// Unchanged: nothing is done, not even for a layout whose layer is unreadable by now.
	writeFile(t, one.blob(one.firstLayer), nil)
	roots := f.roots.Keys()
	if err := os.RemoveAll(bad.dir); err != nil {
		t.Fatal(err)
	}
	if err := f.cat.Preload(context.Background(), dirs); err != nil {
		t.Errorf("second preload: %v", err)
	}
	if !slices.Equal(f.cat.List(), first) || !slices.Equal(f.roots.Keys(), roots) {
		t.Error("a second preload changed something")
	}

	// Changed: the name moves, and the old image is still there by its digest.
	if err := os.RemoveAll(two.dir); err != nil {
		t.Fatal(err)
	}
	changed := writeLayout(t, two.dir, layoutSpec{env: []string{"A=22"}})
	if err := f.cat.Preload(context.Background(), dirs); err != nil {
		t.Fatal(err)
	}
	if img, err := f.cat.Resolve("two"); err != nil || img.Digest != changed.manifest {
		t.Errorf("%+v, %v", img, err)
	}
	if img, err := f.cat.Resolve(two.manifest); err != nil || img.Name != "" {
		t.Errorf("%+v, %v", img, err)
	}
	if got := names(f.cat.List()); !slices.Equal(got, []string{"alone", "one", "two", ""}) {
		t.Errorf("images %v", got)
	}
}

func TestImportArchive(t *testing.T) {
	l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{media: "+gzip"})
	plain := archive(t, l.dir, nil)
	prefixed := archive(t, l.dir, func(entries []tartest.Entry) []tartest.Entry {
		for i := range entries {
			entries[i].Name = "./" + entries[i].Name
		}
		return append([]tartest.Entry{tartest.Dir("./")}, append(entries, tartest.File("./manifest.json", "[]"), tartest.File("repositories", "{}"))...)
	})
	for name, stream := range map[string][]byte{"plain": plain, "gzip": compress(t, "+gzip", plain), "with docker's members": prefixed} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			img, err := f.cat.ImportArchive(context.Background(), "up", bytes.NewReader(stream))
			if err != nil || img.Digest != l.manifest || img.Name != "up" {
				t.Fatalf("%+v, %v", img, err)
			}
			if left, _ := os.ReadDir(f.cat.stagingDir()); len(left) != 0 {
				t.Error("staging is not empty")
			}
		})
	}
}

func TestBadArchive(t *testing.T) {
	l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{})
	add := func(more ...tartest.Entry) []byte {
		return archive(t, l.dir, func(e []tartest.Entry) []tartest.Entry { return append(e, more...) })
	}
	instead := func(name string, e tartest.Entry) []byte {
		return archive(t, l.dir, func(entries []tartest.Entry) []tartest.Entry {
			for i := range entries {
				if entries[i].Name == name {
					entries[i] = e
				}
			}
			return entries
		})
	}
	plain := archive(t, l.dir, nil)
	layer := "blobs/sha256/" + strings.TrimPrefix(l.firstLayer, "sha256:")
	broken := errors.New("connection reset")
	tests := []struct {
		name   string
		stream io.Reader
		limits Limits
		reason job.Reason // "" for an error that is no refusal
		want   string
		err    error // in the chain
	}{
		{name: "empty", stream: strings.NewReader(""), reason: job.Invalid, want: "oci-layout is missing"},
		{name: "no archive", stream: strings.NewReader(strings.Repeat("x", 2000)), reason: job.Invalid, want: "not a valid tar"},
		{name: "truncated", stream: bytes.NewReader(plain[:len(plain)/2]), reason: job.Invalid, want: "truncated"},
		{name: "truncated gzip", stream: bytes.NewReader(compress(t, "+gzip", plain)[:300]), reason: job.Invalid, want: "truncated"},
		{name: "bad gzip", stream: strings.NewReader("\x1f\x8bxxxxxxxxxxxxxxxxxxxx"), reason: job.Invalid, want: "not a valid tar"},
		{name: "gzip bomb", stream: bytes.NewReader(compress(t, "+gzip", add(tartest.File("manifest.json", strings.Repeat("\x00", 1<<20))))), limits: Limits{ArchiveBytes: 1 << 20}, reason: job.Invalid, want: "unpacks to more"},
		{name: "many members", stream: bytes.NewReader(add(slices.Repeat([]tartest.Entry{tartest.File("manifest.json", "")}, 20)...)), limits: Limits{ArchiveEntries: 20}, reason: job.Invalid, want: "more than 20 members"},
		{name: "blob a symlink", stream: bytes.NewReader(instead(layer, tartest.Symlink(layer, "/etc/shadow"))), reason: job.Invalid, want: "not a regular file"},
		{name: "blob a hard link", stream: bytes.NewReader(instead(layer, tartest.Hardlink(layer, "/etc/shadow"))), reason: job.Invalid, want: "not a regular file"},
		{name: "index a symlink", stream: bytes.NewReader(instead("index.json", tartest.Symlink("index.json", "/etc/shadow"))), reason: job.Invalid, want: "not a regular file"},
		{name: "marker a symlink", stream: bytes.NewReader(instead("oci-layout", tartest.Symlink("oci-layout", "/etc/shadow"))), reason: job.Invalid, want: "not a regular file"},
		{name: "blobs a symlink", stream: bytes.NewReader(instead("blobs/", tartest.Symlink("blobs", "/etc"))), reason: job.Invalid, want: "not a regular file"},
		{name: "device", stream: bytes.NewReader(add(tartest.Entry{Name: "blobs/x", Type: '3', Major: 1, Minor: 1})), reason: job.Invalid, want: "not a regular file"},
		{name: "path out", stream: bytes.NewReader(add(tartest.File("../../pwn", "x"))), reason: job.Invalid, want: "not part of"},
		{name: "path out of blobs", stream: bytes.NewReader(add(tartest.File("blobs/sha256/../../../pwn", "x"))), reason: job.Invalid, want: "not part of"},
		{name: "absolute", stream: bytes.NewReader(add(tartest.File("/etc/pwn", "x"))), reason: job.Invalid, want: "not part of"},
		{name: "nested", stream: bytes.NewReader(add(tartest.File("x/index.json", "x"))), reason: job.Invalid, want: "not part of"},
		{name: "folder out", stream: bytes.NewReader(add(tartest.Dir("../x"))), reason: job.Invalid, want: "not a regular file"},
		{name: "member twice", stream: bytes.NewReader(add(tartest.File("index.json", "{}"))), reason: job.Invalid, want: "two members"},
		{name: "blob twice", stream: bytes.NewReader(add(tartest.File(layer, "other"))), reason: job.Invalid, want: "two members"},
		{name: "blob changed", stream: bytes.NewReader(instead(layer, tartest.File(layer, "other"))), reason: job.Invalid, want: "layer 1 of 1"},
		{name: "connection lost", stream: io.MultiReader(bytes.NewReader(plain[:1000]), iotest.ErrReader(broken)), err: broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			need.Root(t)
			f := openAt(t, t.TempDir(), tt.limits)
			_, err := f.cat.ImportArchive(context.Background(), "x", tt.stream)
			var e *job.Refusal
			if err == nil || job.ReasonOf(err) != tt.reason || !errors.Is(err, cmp.Or(tt.err, err)) {
				t.Errorf("error %v, reason %q, want %q and %v", err, job.ReasonOf(err), tt.reason, tt.err)
			}
			if errors.As(err, &e) && !strings.Contains(e.Message, tt.want) {
				t.Errorf("message %q, want %q in it", e.Message, tt.want)
			}
			if e != nil && (strings.Contains(e.Message, f.state) || strings.Contains(e.Message, "root:")) {
				t.Errorf("message shows what it must not: %q", e.Message)
			}
			f.nothingLeft(t)
		})
	}
}

func TestConcurrentImports(t *testing.T) {
	f := newFixture(t)
	l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if img, err := f.cat.ImportLayout(context.Background(), "x", l.dir); err != nil || img.Digest != l.manifest {
				t.Errorf("%+v, %v", img, err)
			}
		})
	}
	wg.Wait()
	if list := f.cat.List(); len(list) != 1 {
		t.Errorf("images %+v", list)
	}
}

func TestBadRecords(t *testing.T) {
	f := newFixture(t)
	l := writeLayout(t, filepath.Join(t.TempDir(), "x"), layoutSpec{})
	gone := writeLayout(t, filepath.Join(t.TempDir(), "gone"), layoutSpec{env: []string{"A=1"}})
	corrupt := writeLayout(t, filepath.Join(t.TempDir(), "corrupt"), layoutSpec{env: []string{"A=2"}})
	for _, x := range []testLayout{l, gone, corrupt} {
		if _, err := f.cat.ImportLayout(context.Background(), filepath.Base(x.dir), x.dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.roots.Remove(gone.manifest); err != nil {
		t.Fatal(err)
	}
	hexOf := func(d string) string { return strings.TrimPrefix(d, "sha256:") }
	records := filepath.Join(f.state, "images", "records")
	writeFile(t, filepath.Join(records, hexOf(corrupt.manifest)+".json"), []byte(`{"format":1`))
	writeFile(t, filepath.Join(records, strings.Repeat("0", 64)+".json"), []byte(readString(t, filepath.Join(records, hexOf(l.manifest)+".json"))))
	writeFile(t, filepath.Join(records, ".new-123"), []byte("x"))
	writeFile(t, filepath.Join(f.state, "images", "staging", "left", "blob"), []byte("x"))

	again := openAt(t, f.state, Limits{})
	list := again.cat.List()
	if len(list) != 1 || list[0].Name != "x" || list[0].Digest != l.manifest {
		t.Errorf("images %+v", list)
	}
	if left, _ := os.ReadDir(again.cat.stagingDir()); len(left) != 0 {
		t.Error("staging was not swept")
	}
	for _, x := range []testLayout{gone, corrupt} {
		if _, err := again.cat.ImportLayout(context.Background(), filepath.Base(x.dir), x.dir); err != nil {
			t.Errorf("importing it again: %v", err)
		}
	}
	writeFile(t, again.cat.namesPath(), []byte("{"))
	third := openAt(t, f.state, Limits{})
	if list := third.cat.List(); len(list) != 3 || list[0].Name != "" {
		t.Errorf("without names: %+v", list)
	}
}
