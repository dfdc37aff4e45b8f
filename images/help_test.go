package images

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

func TestMain(m *testing.M) {
	rootfs.MaybeChild()
	os.Exit(m.Run())
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

type object = map[string]any

// layoutSpec describes a layout to be written; its functions change what is about to be written.
type layoutSpec struct {
	layers   [][]tartest.Entry
	media    string // suffix of the layers' media type: "", "+gzip" or "+zstd"
	env      []string
	cwd      string
	config   func(object)
	manifest func(object)
	index    func(object)
}

// testLayout is a layout on disk, and what it is made of.
type testLayout struct {
	dir                          string
	manifest, config, firstLayer string // digests
	manifestJSON                 []byte
}

func digestOf(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

func (l testLayout) blob(digest string) string {
	return filepath.Join(l.dir, "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil { //nolint:gosec // a layout is readable
		t.Fatal(err)
	}
}

func (l testLayout) put(t *testing.T, mediaType string, b []byte) object {
	t.Helper()
	d := digestOf(b)
	writeFile(t, l.blob(d), b)
	return object{"mediaType": mediaType, "digest": d, "size": len(b)}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compress(t *testing.T, suffix string, b []byte) []byte {
	t.Helper()
	switch suffix {
	case "+gzip":
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	case "+zstd":
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(b, nil)
	}
	return b
}

// writeLayout writes a layout into dir.
func writeLayout(t *testing.T, dir string, spec layoutSpec) testLayout {
	t.Helper()
	l := testLayout{dir: dir}
	if spec.layers == nil {
		spec.layers = [][]tartest.Entry{{tartest.Dir("etc"), tartest.File("etc/hello", "hi")}}
	}
	var layers []any
	diffIDs := []string{}
	for _, entries := range spec.layers {
		tarball := tartest.Archive(entries...)
		desc := l.put(t, typeLayer+spec.media, compress(t, spec.media, tarball))
		diffIDs = append(diffIDs, digestOf(tarball))
		layers = append(layers, desc)
	}
	if len(layers) > 0 {
		l.firstLayer = layers[0].(object)["digest"].(string)
	}
	config := object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Env": spec.env, "WorkingDir": spec.cwd, "User": "root", "Entrypoint": []string{"/bin/sh"}},
		"rootfs": object{"type": "layers", "diff_ids": diffIDs},
	}
	if spec.config != nil {
		spec.config(config)
	}
	configDesc := l.put(t, typeConfig, marshal(t, config))
	l.config = configDesc["digest"].(string)
	manifest := object{"schemaVersion": 2, "mediaType": typeManifest, "config": configDesc, "layers": layers}
	if spec.manifest != nil {
		spec.manifest(manifest)
	}
	l.manifestJSON = marshal(t, manifest)
	desc := l.put(t, typeManifest, l.manifestJSON)
	l.manifest = desc["digest"].(string)
	index := object{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{desc}}
	if spec.index != nil {
		spec.index(index)
	}
	writeFile(t, filepath.Join(dir, "index.json"), marshal(t, index))
	writeFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return l
}

type fixture struct {
	state string
	roots *rootfs.Store
	cat   *Catalogue
}

func openAt(t *testing.T, state string, limits Limits) fixture {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	roots, err := rootfs.Open(filepath.Join(state, "rootfs"), rootfs.Options{Logger: log, MkfsErofs: "/nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	cat, err := Open(filepath.Join(state, "images"), roots, Options{Logger: log, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return fixture{state: state, roots: roots, cat: cat}
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	need.Root(t)
	return openAt(t, t.TempDir(), Limits{})
}

// nothingLeft checks that no image, root, record, name or staging is there.
func (f fixture) nothingLeft(t *testing.T) {
	t.Helper()
	if list := f.cat.List(); len(list) != 0 {
		t.Errorf("images: %v", list)
	}
	for _, dir := range []string{"images/records", "images/staging", "rootfs/roots", "rootfs/staging"} {
		entries, err := os.ReadDir(filepath.Join(f.state, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left behind: %s/%s", dir, e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(f.state, "images/names.json")); err == nil {
		t.Error("left behind: names.json")
	}
}

// archive is a layout as a tar stream, with changes made to its members.
func archive(t *testing.T, dir string, change func([]tartest.Entry) []tartest.Entry) []byte {
	t.Helper()
	entries := []tartest.Entry{tartest.Dir("blobs/"), tartest.Dir("blobs/sha256/")}
	for _, name := range []string{"oci-layout", "index.json"} {
		entries = append(entries, tartest.File(name, readString(t, filepath.Join(dir, name))))
	}
	blobs, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		entries = append(entries, tartest.File("blobs/sha256/"+b.Name(), readString(t, filepath.Join(dir, "blobs", "sha256", b.Name()))))
	}
	if change != nil {
		entries = change(entries)
	}
	return tartest.Archive(entries...)
}

func readString(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name) //nolint:gosec // a test's own
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
