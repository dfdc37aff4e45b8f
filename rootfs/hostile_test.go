package rootfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

// witness is a tree beside everything that is built, which must never change.
type witness struct {
	dir    string
	before map[string]string
}

// newWitness makes the witness as tempting as can be: everybody may read and write it.
func newWitness(t *testing.T) witness {
	t.Helper()
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "witness")
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		if err := os.Mkdir(d, 0o777); err != nil { //nolint:gosec // on purpose
			t.Fatal(err)
		}
	}
	for _, f := range []string{"file", "sub/file", "shadow"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("witness "+f), 0o666); err != nil { //nolint:gosec // on purpose
			t.Fatal(err)
		}
	}
	w := witness{dir: dir}
	w.before = w.look(t)
	return w
}

func (w witness) look(t *testing.T) map[string]string {
	t.Helper()
	state := make(map[string]string)
	err := filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return err
		}
		//nolint:unconvert // Nlink is narrower on arm64
		state[p] = strings.Join([]string{d.Type().String(), itoa(st.Ino), itoa(uint64(st.Mode)), itoa(uint64(st.Uid)), itoa(uint64(st.Gid)), itoa(uint64(st.Nlink)),
			itoa(uint64(st.Mtim.Nano())), itoa(uint64(st.Ctim.Nano()))}, " ") //nolint:gosec // compared only
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p) //nolint:gosec // a test's own
			if err != nil {
				return err
			}
			state[p] += " " + string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func (w witness) check(t *testing.T) {
	t.Helper()
	after := w.look(t)
	for p, was := range w.before {
		if after[p] != was {
			t.Errorf("witness %s changed:\n was %s\n now %s", p, was, after[p])
		}
	}
	for p := range after {
		if _, ok := w.before[p]; !ok {
			t.Errorf("witness has a new entry %s", p)
		}
	}
}

// checkRoot is the invariant of every root that was built, whatever the layers held.
func checkRoot(t *testing.T, root Root) {
	t.Helper()
	fsys := rootFS(t, root)
	for name, mode := range MountPoints() {
		fi, err := fs.Lstat(fsys, name)
		if err != nil {
			t.Errorf("mount point: %v", err)
			continue
		}
		if got, uid, gid := attributes(t, fi); got != mode|fs.ModeDir || uid != 0 || gid != 0 {
			t.Errorf("mount point /%s: %v %d:%d", name, got, uid, gid)
		}
	}
	if left, err := fs.ReadDir(fsys, ".tsubo"); err != nil || len(left) != 0 {
		t.Errorf("/.tsubo has %d entries, %v", len(left), err)
	}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info() // not by name: os.DirFS takes no name that is not UTF-8
		if err != nil {
			return err
		}
		mode, uid, gid := attributes(t, fi)
		if typ := mode.Type(); typ != 0 && typ != fs.ModeDir && typ != fs.ModeSymlink {
			t.Errorf("%s: %v", name, mode)
		}
		if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s: %v", name, mode)
		}
		if uid >= idRange || gid >= idRange {
			t.Errorf("%s: owner %d:%d", name, uid, gid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHostileLayers(t *testing.T) {
	w := newWitness(t)
	out := w.dir
	up := "../../../../../../../../../.." + w.dir
	nobody := errors.New("any") // may be refused or confined
	long := strings.Repeat("a/", 3000)
	tests := []struct {
		name   string
		layers [][]tartest.Entry
		err    error // nil: must be built
	}{
		// F01
		{"above the root", [][]tartest.Entry{{tartest.File(up+"/file", "x")}}, ErrInvalid},
		{"above the root from inside", [][]tartest.Entry{{tartest.File("a/../../pwn", "x")}}, ErrInvalid},
		{"above the root after a dot", [][]tartest.Entry{{tartest.File("./../pwn", "x")}}, ErrInvalid},
		{"absolute", [][]tartest.Entry{{tartest.File(out+"/pwn", "x"), tartest.File(out+"/file", "x")}}, nil},
		{"NUL", [][]tartest.Entry{{{Name: "x", Size: -1, PAX: [][2]string{{"path", "a\x00b"}}}}}, ErrInvalid},
		{"NUL in a link", [][]tartest.Entry{{{Name: "x", Type: '2', PAX: [][2]string{{"linkpath", "a\x00b"}}}}}, ErrInvalid},
		{"empty name", [][]tartest.Entry{{tartest.File("", "x")}}, ErrInvalid},
		{"file for the root", [][]tartest.Entry{{tartest.File(".", "x")}}, ErrInvalid},
		{"name of 4097 bytes", [][]tartest.Entry{{tartest.File(strings.Repeat("a", 4097), "x")}}, ErrInvalid},
		{"element of 256 bytes", [][]tartest.Entry{{tartest.File(strings.Repeat("a", 256), "x")}}, ErrInvalid},
		{"deep", [][]tartest.Entry{{tartest.Dir(long[:3900])}}, ErrInvalid},
		{"link target of 5000 bytes", [][]tartest.Entry{{tartest.Symlink("x", strings.Repeat("a", 5000))}}, ErrInvalid},
		// F02
		{"write through a link", [][]tartest.Entry{{tartest.Symlink("x", out), tartest.File("x/pwn", "x"), tartest.File("x/file", "x")}}, nobody},
		{"write through a link of another layer", [][]tartest.Entry{{tartest.Symlink("x", out)}, {tartest.File("x/pwn", "x"), tartest.File("x/file", "x")}}, nobody},
		{"write through chained links", [][]tartest.Entry{{tartest.Symlink("x", "y"), tartest.Symlink("y", "/"), tartest.File("x"+out+"/file", "x")}}, nobody},
		{"write through a relative link", [][]tartest.Entry{{tartest.Dir("a"), tartest.Symlink("a/x", up), tartest.File("a/x/file", "x")}}, nobody},
		{"write through a link to /proc", [][]tartest.Entry{{tartest.Symlink("x", "/proc/self/cwd"), tartest.File("x/pwn", "x")}}, nobody},
		{"write to a link", [][]tartest.Entry{{tartest.Symlink("x", out+"/file"), tartest.File("x", "x")}}, nil},
		{"white out through a link", [][]tartest.Entry{{tartest.Symlink("x", out)}, {tartest.File("x/.wh.file", "")}}, nobody},
		{"opaque through a link", [][]tartest.Entry{{tartest.Symlink("x", out)}, {tartest.File("x/.wh..wh..opq", "")}}, nobody},
		{"white out above the root", [][]tartest.Entry{{tartest.File(".wh...", "")}}, nobody},
		{"white out of the root", [][]tartest.Entry{{tartest.File(".wh..", "")}}, nobody},
		{"links grow deeper than names", [][]tartest.Entry{{
			tartest.Dir(strings.TrimSuffix(strings.Repeat("d/", 100), "/")), tartest.Symlink("s", strings.TrimSuffix(strings.Repeat("d/", 100), "/")),
			tartest.Dir("s/" + strings.TrimSuffix(strings.Repeat("e/", 100), "/")),
		}}, ErrInvalid},
		// F03
		{"link for the root", [][]tartest.Entry{{tartest.Symlink(".", out)}}, ErrInvalid},
		{"link for the root, slash", [][]tartest.Entry{{tartest.Symlink("/", out), tartest.File("pwn", "x")}}, ErrInvalid},
		{"link for the root, dot slash", [][]tartest.Entry{{tartest.Symlink("./", out), tartest.File("pwn", "x")}}, ErrInvalid},
		{"link for the tree", [][]tartest.Entry{{tartest.Symlink("../tree", out), tartest.File("pwn", "x")}}, ErrInvalid},
		{"hard link for the root", [][]tartest.Entry{{tartest.Hardlink(".", "x")}}, ErrInvalid},
		// F04
		{"hard link out, absolute", [][]tartest.Entry{{tartest.Hardlink("x", out+"/file")}}, nobody},
		{"hard link out, relative", [][]tartest.Entry{{tartest.Hardlink("x", up+"/file")}}, ErrInvalid},
		{"hard link to a link out", [][]tartest.Entry{{
			tartest.Symlink("l", out+"/file"), tartest.Hardlink("h", "l"),
			tartest.Entry{Name: "h", Type: '0', Mode: 0o777, UID: 1, GID: 1, Size: -1, Body: "x"},
		}}, nobody},
		{"hard link through a link", [][]tartest.Entry{{tartest.Symlink("l", out), tartest.Hardlink("h", "l/file"), tartest.File("h", "x")}}, nobody},
		{"hard link to itself", [][]tartest.Entry{{tartest.Hardlink("x", "x")}}, ErrInvalid},
		{"hard link to a later entry", [][]tartest.Entry{{tartest.Hardlink("x", "y"), tartest.File("y", "y")}}, ErrInvalid},
		{"hard link to what is whited out", [][]tartest.Entry{{tartest.File("y", "y")}, {tartest.File(".wh.y", ""), tartest.Hardlink("x", "y")}}, ErrInvalid},
		{"hard link to nothing", [][]tartest.Entry{{tartest.Entry{Name: "x", Type: '1'}}}, ErrInvalid},
		{"hard link to the root", [][]tartest.Entry{{tartest.Hardlink("x", "/")}}, ErrInvalid},
		{"hard link to a directory", [][]tartest.Entry{{tartest.Dir("d"), tartest.Hardlink("x", "d")}}, ErrInvalid},
		// F06
		{"nodes", [][]tartest.Entry{{
			{Name: "sda", Type: '4', Mode: 0o666, Major: 8}, {Name: "mem", Type: '3', Mode: 0o666, Major: 1, Minor: 1}, {Name: "whiteout", Type: '3'},
			{Name: "cuse", Type: '3', Mode: 0o666, Major: 10, Minor: 203}, {Name: "fifo", Type: '6', Mode: 0o666}, tartest.Hardlink("alias", "mem"),
		}}, nil},
		{"node in place of a link", [][]tartest.Entry{{tartest.Symlink("x", out+"/file")}, {{Name: "x", Type: '3', Major: 1, Minor: 3}}}, nil},
		{"type V", [][]tartest.Entry{{{Name: "x", Type: 'V'}}}, ErrInvalid},
		{"type M", [][]tartest.Entry{{{Name: "x", Type: 'M'}}}, ErrInvalid},
		{"type Z", [][]tartest.Entry{{{Name: "x", Type: 'Z'}}}, ErrInvalid},
		// modes, owners, attributes
		{"setuid, setgid and sticky", [][]tartest.Entry{{
			{Name: "su", Mode: 0o6755, Size: -1, Body: "x"}, {Name: "d", Type: '5', Mode: 0o7777}, {Name: "d/f", Mode: 0o7777, Size: -1},
			{Name: "bits", Mode: 0o177777, Size: -1},
		}}, nil},
		{"file capability and labels", [][]tartest.Entry{{{Name: "cap", Mode: 0o755, Size: -1, Body: "x", PAX: [][2]string{
			{"SCHILY.xattr.security.capability", "\x01\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
			{"SCHILY.xattr.trusted.overlay.opaque", "y"}, {"SCHILY.xattr.user.x", "y"}, {"SCHILY.xattr.system.posix_acl_access", "x"},
		}}}}, nil},
		{"owner out of range", [][]tartest.Entry{{{Name: "x", UID: 65536, Size: -1}}}, ErrInvalid},
		{"group out of range", [][]tartest.Entry{{{Name: "x", GID: 65536, Size: -1}}}, ErrInvalid},
		{"negative owner", [][]tartest.Entry{{{Name: "x", Size: -1, PAX: [][2]string{{"uid", "-1"}}}}}, ErrInvalid},
		{"owner of 2^32", [][]tartest.Entry{{{Name: "x", Size: -1, PAX: [][2]string{{"uid", "4294967296"}}}}}, ErrInvalid},
		{"times", [][]tartest.Entry{{
			{Name: "old", Size: -1, PAX: [][2]string{{"mtime", "-9999999999.5"}}}, {Name: "new", Size: -1, PAX: [][2]string{{"mtime", "99999999999.5"}}},
			{Name: "d", Type: '5', Mode: 0o755, PAX: [][2]string{{"mtime", "99999999999.5"}}},
		}}, nil},
		{"modes that lock out their owner", [][]tartest.Entry{{{Name: "d", Type: '5'}, {Name: "d/f", Size: -1, Body: "x"}}}, nil},
		{"file where a directory was", [][]tartest.Entry{{tartest.File("a/b/c", "x")}, {tartest.File("a", "x")}, {tartest.File("a/b", "x")}}, nil},
		// F09
		{"size 2^62", [][]tartest.Entry{{{Name: "x", PAX: [][2]string{{"size", "4611686018427387904"}}}}}, ErrInvalid},
		{"negative size, base 256", [][]tartest.Entry{{{Name: "x", RawSize: strings.Repeat("\xff", 12)}}}, ErrInvalid},
		{"size of no number", [][]tartest.Entry{{{Name: "x", RawSize: "zzzzzzzzzzzz"}}}, ErrInvalid},
		{"sparse file of 8 EiB", [][]tartest.Entry{{{Name: "x", Size: -1, PAX: [][2]string{
			{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.name", "x"}, {"GNU.sparse.size", "9223372036854775807"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,0"},
		}}}}, ErrInvalid},
		{"old GNU sparse", [][]tartest.Entry{{{Name: "x", Type: 'S', Size: -1}}}, ErrInvalid},
		{"wrong checksum", [][]tartest.Entry{{{Name: "x", Size: -1, BadSum: true}}}, ErrInvalid},
		{"body shorter than its size", [][]tartest.Entry{{{Name: "x", Size: 100_000, Body: "x"}}}, ErrInvalid},
		// F21
		{"mount points are links to the root", [][]tartest.Entry{mountPointsAs(func(n string) tartest.Entry { return tartest.Symlink(n, "/") })}, nil},
		{"mount points are links out", [][]tartest.Entry{mountPointsAs(func(n string) tartest.Entry { return tartest.Symlink(n, up) })}, nil},
		{"mount points are absolute links out", [][]tartest.Entry{mountPointsAs(func(n string) tartest.Entry { return tartest.Symlink(n, out) })}, nil},
		{"mount points are links to each other", [][]tartest.Entry{{
			tartest.Symlink("tmp", "output"), tartest.Symlink("output", "tmp"), tartest.Symlink("proc", "proc"), tartest.Symlink("code", ".tsubo"), tartest.Symlink(".tsubo", "usr"),
			tartest.File("usr/precious", "x"),
		}}, nil},
		{"mount points are files", [][]tartest.Entry{mountPointsAs(func(n string) tartest.Entry { return tartest.File(n, "x") })}, nil},
		{"mount points are owned and closed", [][]tartest.Entry{mountPointsAs(func(n string) tartest.Entry {
			return tartest.Entry{Name: n, Type: '5', UID: 1000, GID: 1000, Mode: 0o7000}
		})}, nil},
		{"an init of the image's own", [][]tartest.Entry{{tartest.Dir(".tsubo"), tartest.File(".tsubo/tsubo-init", "evil"), tartest.File(".tsubo/python/sitecustomize.py", "evil")}}, nil},
		{"home is a link out", [][]tartest.Entry{{tartest.Symlink("home", out)}}, nil},
		{"home of the sandbox is a link out", [][]tartest.Entry{{tartest.Dir("home"), tartest.Symlink("home/sandbox", out)}}, nil},
		{"etc is a link out", [][]tartest.Entry{{tartest.Symlink("etc", out)}}, nil},
		{"empty layer", [][]tartest.Entry{{}}, nil},
		{"names", [][]tartest.Entry{{
			tartest.File("new\nline", ""), tartest.File("\xff\xfe", ""), tartest.File("-rf", ""), tartest.File("\x1b[2J", ""), tartest.File("...", ""), tartest.File(" ", ""),
			tartest.File("a\\b", ""), tartest.Symlink("dangling", "\xff nowhere"), tartest.File(strings.Repeat("n", 254), ""), tartest.File("é", ""), tartest.File("e\u0301", ""),
		}}, nil},
	}
	need.Root(t)
	opts := Options{} // EROFS where it can be had: that adds a step and takes none away but shiftTree's, which has its own test
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, opts)
			root, err := s.Build(context.Background(), someKey, source(t, tt.layers...))
			w.check(t)
			if err != nil {
				if tt.err == nil || !errors.Is(err, ErrInvalid) {
					t.Errorf("error %v", err)
				}
				if msg := Message(err); msg == "" || strings.Contains(msg, s.dir) {
					t.Errorf("message %q", msg)
				}
				nothingLeft(t, s)
				return
			}
			if tt.err != nil && tt.err != nobody { //nolint:errorlint // sentinels of this table
				t.Error("built, expected to be refused")
			}
			checkRoot(t, root)
		})
	}
}

func mountPointsAs(f func(string) tartest.Entry) (entries []tartest.Entry) {
	for _, name := range sortedKeys(MountPoints()) {
		entries = append(entries, f(name))
	}
	return entries
}

func TestHome(t *testing.T) {
	need.Root(t)
	s := openStore(t, Options{MkfsErofs: noTool})
	root := mustBuild(t, s, someKey, source(t, []tartest.Entry{tartest.File("x", "")}))
	fi, err := os.Lstat(filepath.Join(root.Path, "home/sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	if mode, uid, gid := attributes(t, fi); mode != fs.ModeDir|0o755 || uid != 1000 || gid != 1000 {
		t.Errorf("/home/sandbox: %v %d:%d", mode, uid, gid)
	}
}

func TestBombs(t *testing.T) {
	need.Root(t)
	zeros := func(n int) []byte { return tartest.Archive(tartest.File("zero", strings.Repeat("\x00", n))) }
	gz := func(parts ...[]byte) []byte {
		var b bytes.Buffer
		for _, p := range parts {
			w := gzip.NewWriter(&b)
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	zs := func(p []byte) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(p, nil)
	}
	many := func(n int) []byte {
		var e []tartest.Entry
		for range n {
			e = append(e, tartest.File("same", ""))
		}
		return tartest.Archive(e...)
	}
	small := Limits{UnpackedBytes: 1 << 20, Entries: 100, Depth: 10, PathBytes: 200}
	exact := zeros(1<<20 - 512 - 1024)
	tests := []struct {
		name    string
		c       Compression
		blob    []byte
		tarball []byte
		limits  Limits
		want    string // "" builds
	}{
		{"exactly the limit", Gzip, gz(exact), exact, small, ""},
		{"one block over the limit", Gzip, gz(zeros(1 << 20)), zeros(1 << 20), small, "more than an image may"},
		{"gzip bomb", Gzip, gz(zeros(64 << 20)), zeros(64 << 20), small, "more than an image may"},
		{"zstd bomb", Zstd, zs(zeros(64 << 20)), zeros(64 << 20), small, "more than an image may"},
		{"bomb behind the archive's end", Gzip, gz(append(many(1), make([]byte, 8<<20)...)), append(many(1), make([]byte, 8<<20)...), small, "more than an image may"},
		{"zstd window", Zstd, zs(zeros(4 << 20)), zeros(4 << 20), Limits{ZstdWindow: 1 << 20}, "exceeds"},
		{"members", Gzip, gz(many(2)[:1024], many(2)[1024:]), many(2), small, ""},
		{"junk after gzip", Gzip, append(gz(many(2)), "junk"...), many(2), small, "blob is"},
		{"entries at the limit", Uncompressed, many(100), many(100), small, ""},
		{"entries over the limit", Uncompressed, many(101), many(101), small, "more than 100 entries"},
		{"sparse file over the limit", Uncompressed, sparse("2000000"), sparse("2000000"), small, "more than an image may"},
		{"sparse file under the limit", Uncompressed, sparse("1000000"), sparse("1000000"), small, ""},
		{"depth at the limit", Uncompressed, tartest.Archive(tartest.Dir("1/2/3/4/5/6/7/8/9/10")), tartest.Archive(tartest.Dir("1/2/3/4/5/6/7/8/9/10")), small, ""},
		{"depth over the limit", Uncompressed, tartest.Archive(tartest.Dir("1/2/3/4/5/6/7/8/9/10/11")), tartest.Archive(tartest.Dir("1/2/3/4/5/6/7/8/9/10/11")), small, "entry is 11 directories deep"},
		{"path over the limit", Uncompressed, tartest.Archive(tartest.File(strings.Repeat("x/", 5)+strings.Repeat("y", 191), "")), tartest.Archive(tartest.File(strings.Repeat("x/", 5)+strings.Repeat("y", 191), "")), small, "201 bytes"},
		{"PAX record of 2 MiB", Uncompressed, paxOf(2 << 20), paxOf(2 << 20), Limits{}, "not a valid archive"},
		{"not gzip", Gzip, many(2), many(2), small, "not a valid archive"},
		{"not zstd", Zstd, many(2), many(2), small, "not a valid archive"},
		{"gzip truncated", Gzip, gz(many(50))[:100], many(50), small, "truncated"},
		{"another compression", "xz", many(2), many(2), small, "not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, Options{MkfsErofs: noTool, Limits: tt.limits})
			src := TreeSource{MountPoints: true, Layers: []Layer{blobLayer(t, tt.c, tt.blob, tt.tarball)}}
			_, err := s.Build(context.Background(), someKey, src)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
			nothingLeft(t, s)
		})
	}
}

func sparse(size string) []byte {
	return tartest.Archive(tartest.Entry{Name: "x", Size: -1, PAX: [][2]string{
		{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.name", "x"}, {"GNU.sparse.size", size}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,0"},
	}})
}

func paxOf(n int) []byte {
	return tartest.Archive(tartest.Entry{Name: "x", Size: -1, PAX: [][2]string{{"comment", strings.Repeat("x", n)}}})
}

func TestLayerIdentity(t *testing.T) {
	need.Root(t)
	other := "sha256:" + strings.Repeat("0", 64)
	tests := []struct {
		name   string
		change func(*Layer)
		want   string
	}{
		{"digest", func(l *Layer) { l.Digest = other }, "digest"},
		{"diff id", func(l *Layer) { l.DiffID = other }, "diff_ids"},
		{"size", func(l *Layer) { l.Size++ }, "bytes"},
		{"negative size", func(l *Layer) { l.Size = -1 }, "bytes"},
		{"digest a path", func(l *Layer) { l.Digest = "sha256:../../../etc/passwd" }, "must be sha256"},
		{"diff id upper case", func(l *Layer) { l.DiffID = strings.ToUpper(l.DiffID) }, "must be sha256"},
	}
	for _, tt := range tests {
		for _, c := range []Compression{Uncompressed, Gzip, Zstd} {
			t.Run(tt.name+" "+string(c), func(t *testing.T) {
				s := openStore(t, Options{MkfsErofs: noTool})
				l := newLayer(t, c, tartest.Archive(tartest.File("x", "x")))
				tt.change(&l)
				_, err := s.Build(context.Background(), someKey, TreeSource{Layers: []Layer{l}})
				if !errors.Is(err, ErrInvalid) || !strings.Contains(Message(err), tt.want) || !strings.Contains(Message(err), l.Name) {
					t.Errorf("error %v", err)
				}
				nothingLeft(t, s)
			})
		}
	}
}
