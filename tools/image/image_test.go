package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeDeb creates a package file from tar headers. Each regular file contains its own name.
func writeDeb(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	archive := func(headers ...tar.Header) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, h := range headers {
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(h.Name))
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := w.Write([]byte(h.Name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	var ar bytes.Buffer
	ar.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", archive()}, {"data.tar", archive(headers...)}} {
		fmt.Fprintf(&ar, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		ar.Write(m.data)
		if len(m.data)%2 == 1 {
			ar.WriteByte('\n')
		}
	}
	path := filepath.Join(t.TempDir(), "x_1_all.deb")
	if err := os.WriteFile(path, ar.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpack(t *testing.T) {
	tr := newTree()
	err := tr.unpack(writeDeb(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./bin/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "./bin/su", Mode: 0o6755, Uid: 7, Gid: 8},
		tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/hard", Linkname: "./bin/su"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib/soft", Linkname: "../x"},
		tar.Header{Typeflag: tar.TypeReg, Name: "../../etc/escape", Mode: 0o644},
	))
	if err != nil {
		t.Fatal(err)
	}
	if e := tr.entries["bin"]; e == nil || e.kind != tar.TypeSymlink {
		t.Errorf("bin = %+v, want the symlink to usr/bin that a package's directory must not replace", e)
	}
	for _, name := range []string{"usr/bin/su", "usr/bin/hard"} {
		e := tr.entries[name]
		if e == nil || e.mode != 0o755 || e.id != 0 || string(e.data) != "./bin/su" {
			t.Errorf("%s = %+v, want mode 0755, owner root and the file's content", name, e)
		}
	}
	if e := tr.entries["usr/lib/soft"]; e == nil || e.link != "../x" {
		t.Errorf("usr/lib/soft = %+v, want a link to ../x", e)
	}
	for name := range tr.entries {
		if !fs.ValidPath(name) {
			t.Errorf("path %q leaves the root", name)
		}
	}
}

func TestUnpackRefusesDevices(t *testing.T) {
	for _, kind := range []byte{tar.TypeChar, tar.TypeBlock, tar.TypeFifo} {
		if err := newTree().unpack(writeDeb(t, tar.Header{Typeflag: kind, Name: "./dev/x"})); err == nil {
			t.Errorf("a file of kind %q was taken", kind)
		}
	}
}

func TestUnpackRefusesWhatIsNoPackage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x_1_all.deb")
	if err := os.WriteFile(path, []byte("no package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newTree().unpack(path); err == nil {
		t.Error("a file that is no package was taken")
	}
}

// small returns a tree with only a certificate package.
func small(t *testing.T, certificates int) *tree {
	t.Helper()
	tr := newTree()
	for i := range certificates {
		tr.file(fmt.Sprintf("usr/share/ca-certificates/mozilla/%03d.crt", i), 0o644,
			fmt.Appendf(nil, "-----BEGIN CERTIFICATE-----\n%d\n", i))
	}
	tr.file("usr/share/doc/x/copyright", 0o644, []byte("text"))
	return tr
}

func TestFixups(t *testing.T) {
	tr := small(t, 60)
	tr.prune()
	if err := tr.fixups(nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range strings.Fields("proc sys dev tmp code input output .tsubo app root home/sandbox") {
		if e := tr.entries[d]; e == nil || e.kind != tar.TypeDir {
			t.Errorf("%s is no directory: %+v", d, e)
		}
	}
	if e := tr.entries["home/sandbox"]; e.id != 1000 {
		t.Errorf("the job's home belongs to %d", e.id)
	}
	if !bytes.Contains(tr.entries["etc/passwd"].data, []byte("\nsandbox:x:1000:1000:")) {
		t.Error("no user sandbox in /etc/passwd")
	}
	if n := bytes.Count(tr.entries["etc/ssl/certs/ca-certificates.crt"].data, []byte("BEGIN")); n != 60 {
		t.Errorf("%d certificates in the bundle, want 60", n)
	}
	for name, e := range tr.entries {
		if strings.HasPrefix(name, "usr/share/doc") || strings.HasPrefix(name, "usr/share/ca-certificates") {
			t.Errorf("%s was kept", name)
		}
		if e.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s has mode %v", name, e.mode)
		}
	}
	if err := small(t, 3).fixups(nil); err == nil {
		t.Error("three CA certificates were enough")
	}
}

func TestCheckLibraries(t *testing.T) {
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTree()
	tr.file("usr/bin/true", 0o755, data)
	if err := tr.checkLibraries(); err == nil || !strings.Contains(err.Error(), "usr/bin/true needs libc.so.6") {
		t.Fatalf("without libc: %v", err)
	}
	tr.symlink(libDir()+"/libc.so.6", "/lib64/elsewhere")
	if err := tr.checkLibraries(); err == nil {
		t.Error("a link into nothing was taken for a library")
	}
	tr.file("usr/lib64/elsewhere", 0o755, nil)
	if err := tr.checkLibraries(); err != nil {
		t.Error(err)
	}
}

func TestLayout(t *testing.T) {
	for _, gz := range []bool{false, true} {
		var digests []string
		dir := filepath.Join(t.TempDir(), "image")
		for range 2 { // the second run replaces the first layout
			digest, _, err := writeLayout(dir, "python", small(t, 60), []deb{{name: "x", version: "1"}}, gz)
			if err != nil {
				t.Fatal(err)
			}
			digests = append(digests, digest)
		}
		if digests[0] != digests[1] {
			t.Errorf("gzip %v: two builds of one tree have digests %v", gz, digests)
		}
		blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
		if err != nil || len(blobs) != 3 {
			t.Fatalf("gzip %v: blobs %v, %v; want a layer, a config and a manifest", gz, blobs, err)
		}
		for _, b := range blobs {
			data, err := os.ReadFile(b)
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != filepath.Base(b) {
				t.Errorf("gzip %v: blob %s has another digest", gz, b)
			}
		}
		var ix index
		data, err := os.ReadFile(filepath.Join(dir, "index.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &ix); err != nil || len(ix.Manifests) != 1 ||
			ix.Manifests[0].Digest != digests[0] {
			t.Errorf("gzip %v: index %s, %v", gz, data, err)
		}
		left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".image-*"))
		if err != nil || len(left) != 0 {
			t.Errorf("gzip %v: left behind %v, %v", gz, left, err)
		}
	}
}

// TestCompareLibraries checks the order of glibc's _dl_cache_libcmp. In any other order the
// loader's binary search misses libraries.
func TestCompareLibraries(t *testing.T) {
	ascending := []string{
		"",
		"liba",
		"libb",
		"libc.so",
		"libc.so.6",
		"libc.so.10",
		"libc.so.10.1",
		"libc0",
		"libz.so.1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			if got := compareLibraries(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compare %q with %q: %d", a, b, got)
			}
		}
	}
}

// TestCacheFindsEveryLibrary searches as the loader does.
func TestCacheFindsEveryLibrary(t *testing.T) {
	names := strings.Fields(
		"libz.so.1 libc.so.6 libm.so.6 libpython3.11.so.1.0 libpython3.9.so.1.0 ld-linux-x86-64.so.2 " +
			"libstdc++.so.6 libdb-5.3.so",
	)
	cache := encodeCache(names)
	word := func(at int) int { return int(binary.LittleEndian.Uint32(cache[at:])) }
	str := func(at int) string { s, _, _ := strings.Cut(string(cache[at:]), "\x00"); return s }
	if n := word(20); n != len(names) || !bytes.HasPrefix(cache, []byte("glibc-ld.so.cache1.1")) {
		t.Fatalf("%d libraries in the header %q", n, cache[:48])
	}
	for _, name := range names {
		left, right, found := 0, len(names)-1, ""
		for left <= right && found == "" {
			middle := (left + right) / 2
			entry := 48 + 24*middle
			switch c := compareLibraries(name, str(word(entry+4))); {
			case c < 0:
				left = middle + 1
			case c > 0:
				right = middle - 1
			default:
				found = str(word(entry + 8))
			}
		}
		if !strings.HasPrefix(found, "/lib/") || filepath.Base(found) != name {
			t.Errorf("%s is found as %q", name, found)
		}
	}
}
