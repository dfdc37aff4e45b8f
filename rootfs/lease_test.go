package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

func simple(t *testing.T) TreeSource {
	t.Helper()
	return source(t, []tartest.Entry{tartest.File("x", "x")})
}

// counter is a logger that counts the roots that were built.
type counter struct {
	slog.Handler
	built *atomic.Int32
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }

func (c counter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "root built" {
		c.built.Add(1)
	}
	return nil
}

func TestConcurrentBuildsShareTheWork(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		var built atomic.Int32
		s.log = slog.New(counter{slog.DiscardHandler, &built})
		src := simple(t)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if root, err := s.Build(context.Background(), someKey, src); err != nil || root.Key != someKey {
					t.Errorf("%+v, %v", root, err)
				}
			})
		}
		wg.Wait()
		mustBuild(t, s, someKey, src)
		if n := built.Load(); n != 1 {
			t.Errorf("built %d times", n)
		}
	})
}

func TestSameContentSameImage(t *testing.T) {
	requireErofs(t)
	var sums []string
	for range 2 {
		s := openStore(t, Options{})
		// The parents are in no layer, so nothing but the build could give them a time.
		sums = append(sums, mustBuild(t, s, someKey, source(t, []tartest.Entry{tartest.File("a/b/c", "x")})).SHA256)
	}
	if sums[0] != sums[1] || sums[0] == "" {
		t.Errorf("images differ: %v", sums)
	}
}

func TestBuildTree(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		files := map[string]GuestFile{
			"tsubo-init":              {Mode: 0o555, Data: []byte("init")},
			"python/sitecustomize.py": {Mode: 0o444, Data: []byte("import sys")},
			"proc":                    {Mode: fs.ModeDir | 0o555},
			"tmp":                     {Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		}
		root, err := s.BuildTree(context.Background(), "guest:v1", files)
		if err != nil {
			t.Fatal(err)
		}
		fsys := rootFS(t, root)
		got := map[string]string{}
		err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			mode, uid, gid := attributes(t, fi)
			if uid != 0 || gid != 0 {
				t.Errorf("%s: owner %d:%d", name, uid, gid)
			}
			got[name] = mode.String()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			".": "drwxr-xr-x", "tsubo-init": "-r-xr-xr-x", "python": "drwxr-xr-x", "python/sitecustomize.py": "-r--r--r--", "proc": "dr-xr-xr-x", "tmp": "dtrwxrwxrwx",
		}
		for name, mode := range want {
			if got[name] != mode {
				t.Errorf("%s: %q, expected %q", name, got[name], mode)
			}
			delete(got, name)
		}
		if len(got) != 0 {
			t.Errorf("more than that: %v", got)
		}
		if b, err := fs.ReadFile(fsys, "tsubo-init"); err != nil || string(b) != "init" {
			t.Errorf("%q, %v", b, err)
		}
		for _, bad := range []string{"../x", "/x", "a//b", "", ".", "a/", "x\x00"} {
			if _, err := s.BuildTree(context.Background(), "guest:v2", map[string]GuestFile{bad: {Mode: 0o444}}); err == nil {
				t.Errorf("%q was taken", bad)
			}
		}
		if _, err := s.BuildTree(context.Background(), "guest:v2", map[string]GuestFile{"l": {Mode: fs.ModeSymlink}}); err == nil {
			t.Error("a link was taken")
		}
	})
}

func TestKeys(t *testing.T) {
	s := openStore(t, Options{MkfsErofs: noTool})
	for _, key := range []string{"", ".", "..", "../x", "a/b", "a+b", "A", "sha256:x", "sha256:" + strings.Repeat("A", 64), "a:b:c", "a:", "a\x00", strings.Repeat("a", 40)} {
		if _, err := s.Build(context.Background(), key, simple(t)); !errors.Is(err, ErrInvalid) {
			t.Errorf("Build(%q): %v", key, err)
		}
		if err := s.Remove(key); !errors.Is(err, ErrInvalid) {
			t.Errorf("Remove(%q): %v", key, err)
		}
		if _, err := s.Acquire(key); !errors.Is(err, ErrNotFound) {
			t.Errorf("Acquire(%q): %v", key, err)
		}
	}
}

func TestLease(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		root := mustBuild(t, s, someKey, simple(t))
		one, err := s.Acquire(someKey)
		if err != nil {
			t.Fatal(err)
		}
		two, err := s.Acquire(someKey)
		if err != nil {
			t.Fatal(err)
		}
		if one.Root != root {
			t.Errorf("leased %+v", one.Root)
		}
		one.Release()
		one.Release() // does not count twice
		if err := s.Remove(someKey); !errors.Is(err, ErrLeased) {
			t.Errorf("removed while leased: %v", err)
		}
		if _, err := os.Stat(root.Path); err != nil {
			t.Error(err)
		}
		two.Release()
		for range 2 {
			if err := s.Remove(someKey); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Acquire(someKey); !errors.Is(err, ErrNotFound) {
			t.Errorf("acquired after removal: %v", err)
		}
		nothingLeft(t, s)
	})
}

func TestDirectoryRootBecomesErofs(t *testing.T) {
	requireErofs(t)
	without := openStore(t, Options{MkfsErofs: noTool})
	src := simple(t)
	mustBuild(t, without, someKey, src)
	s, err := Open(without.dir, Options{Logger: without.log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // only read
	if s.Has(someKey) {
		t.Error("a directory root is as good as any where mkfs.erofs is")
	}
	lease, err := s.Acquire(someKey)
	if err != nil {
		t.Fatal(err)
	}
	if root := mustBuild(t, s, someKey, src); root.Kind != Directory {
		t.Errorf("replaced while in use: %+v", root)
	}
	lease.Release()
	if root := mustBuild(t, s, someKey, src); root.Kind != EROFS {
		t.Errorf("not replaced: %+v", root)
	}
	entries, err := os.ReadDir(filepath.Join(s.rootsDir(), dirName(someKey)))
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

// A directory root that is taken into use while its replacement is built stays where it is.
func TestLeaseDuringReplacement(t *testing.T) {
	requireErofs(t)
	without := openStore(t, Options{MkfsErofs: noTool})
	src := simple(t)
	old := mustBuild(t, without, someKey, src)
	s, err := Open(without.dir, Options{Logger: without.log, MkfsErofs: stub(t, "mkfs.erofs 1.5", `sleep 0.5; exec "$real" "$@"`)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // only read
	done := make(chan Root, 1)
	go func() {
		root, err := s.Build(context.Background(), someKey, src)
		if err != nil {
			t.Error(err)
		}
		done <- root
	}()
	waitFor(t, "the build", func() bool { return fileExists(s, "work/out") })
	lease, err := s.Acquire(someKey)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	if root := <-done; root != old || lease.Root != old {
		t.Errorf("root %+v, leased %+v", root, lease.Root)
	}
	if _, err := os.Stat(filepath.Join(old.Path, "x")); err != nil {
		t.Error(err)
	}
}

func TestRestart(t *testing.T) {
	bothKinds(t, func(t *testing.T, s *Store) {
		w := newWitness(t)
		root := mustBuild(t, s, someKey, simple(t))
		// What a crash leaves in staging: closed, deep, owned by others, with links out.
		left := filepath.Join(s.stagingDir(), "LEFT", "work", "tree")
		if err := os.MkdirAll(left, 0o700); err != nil {
			t.Fatal(err)
		}
		deep(t, left, 3000)
		if err := os.Symlink(w.dir, filepath.Join(left, "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(w.dir, filepath.Join(s.stagingDir(), "OUT")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(left, "closed"), 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(left, 1<<20, 1<<20); err != nil {
			t.Fatal(err)
		}
		again, err := Open(s.dir, Options{MkfsErofs: s.opts.MkfsErofs, Logger: s.log})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close() //nolint:errcheck // only read
		if got, err := again.Lookup(someKey); err != nil || got != root {
			t.Errorf("after a restart %+v, %v", got, err)
		}
		if entries, _ := os.ReadDir(again.stagingDir()); len(entries) != 0 {
			t.Errorf("staging holds %v", entries)
		}
		w.check(t)
	})
}

// deep makes directories in one another, each with a file, without ever naming a path.
func deep(t *testing.T, dir string, n int) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f, err := unix.Openat(fd, "f", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for _, done := range []int{f, fd} {
			if err := unix.Close(done); err != nil {
				t.Fatal(err)
			}
		}
		fd = next
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptRoots(t *testing.T) {
	requireErofs(t)
	image := func(s *Store) string { return filepath.Join(s.rootsDir(), dirName(someKey), "root.erofs") }
	recordFile := func(s *Store) string { return filepath.Join(s.rootsDir(), dirName(someKey), "root.json") }
	flip := func(t *testing.T, name string) {
		b, err := os.ReadFile(name) //nolint:gosec // a test's own
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(name, b, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		corrupt func(t *testing.T, s *Store)
		flipped bool // found only by Verify
	}{
		{"image truncated", func(t *testing.T, s *Store) {
			if err := os.Truncate(image(s), 4096); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"image gone", func(t *testing.T, s *Store) {
			if err := os.Remove(image(s)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"image a link", func(t *testing.T, s *Store) {
			if err := os.Rename(image(s), image(s)+"2"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("root.erofs2", image(s)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"bit flipped", func(t *testing.T, s *Store) { flip(t, image(s)) }, true},
		{"record flipped", func(t *testing.T, s *Store) { flip(t, recordFile(s)) }, false},
		{"record of another", func(t *testing.T, s *Store) {
			if err := os.WriteFile(recordFile(s), []byte(`{"format":1,"key":"other","kind":"erofs","size":4096}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"record gone", func(t *testing.T, s *Store) {
			if err := os.Remove(recordFile(s)); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, Options{})
			src := simple(t)
			mustBuild(t, s, someKey, src)
			if err := s.Verify(someKey); err != nil {
				t.Fatal(err)
			}
			tt.corrupt(t, s)
			again, err := Open(s.dir, Options{Logger: s.log})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close() //nolint:errcheck // only read
			if tt.flipped {
				if err := again.Verify(someKey); err == nil || !strings.Contains(err.Error(), "corrupt") {
					t.Errorf("error %v", err)
				}
				return
			}
			if _, err := again.Acquire(someKey); !errors.Is(err, ErrNotFound) {
				t.Errorf("a corrupt root was leased: %v", err)
			}
			mustBuild(t, again, someKey, src)
			lease, err := again.Acquire(someKey)
			if err != nil {
				t.Fatal(err)
			}
			lease.Release()
		})
	}
	t.Run("while open", func(t *testing.T) {
		s := openStore(t, Options{})
		mustBuild(t, s, someKey, simple(t))
		if err := os.Truncate(image(s), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Acquire(someKey); err == nil || !strings.Contains(err.Error(), "corrupt") {
			t.Errorf("error %v", err)
		}
		if s.Has(someKey) {
			t.Error("a corrupt root counts as built")
		}
	})
}

// TestDiskFull runs the test binary again in a mount namespace of its own, where a small tmpfs
// holds the store.
func TestDiskFull(t *testing.T) {
	requireErofs(t)
	if dir := os.Getenv("TSUBO_TEST_SMALL_DISK"); dir != "" {
		onSmallDisk(t, dir)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDiskFull$", "-test.v") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), "TSUBO_TEST_SMALL_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "disk was full") {
		t.Errorf("%v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, dir string) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	blob := func(mib int) TreeSource {
		return source(t, []tartest.Entry{tartest.File("big", strings.Repeat("x", mib<<20))})
	}
	for _, tt := range []struct {
		name string
		tool string
		mib  int
	}{
		{"while unpacking", noTool, 6}, {"while unpacking for EROFS", "", 6}, {"while making the image", "", 3},
	} {
		s, err := Open(filepath.Join(dir, "rootfs"), Options{MkfsErofs: tt.tool, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Build(context.Background(), someKey, blob(tt.mib))
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		nothingLeft(t, s)
		mustBuild(t, s, someKey, blob(1)) // there is room again
		if err := s.Remove(someKey); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Log("disk was full")
}

func TestShiftTree(t *testing.T) {
	need.Root(t)
	const base = 1 << 20
	w := newWitness(t)
	newTree := func(t *testing.T) (string, *os.File) {
		dir := t.TempDir()
		for _, f := range []string{"a", "d/b"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil { //nolint:gosec // a root
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil { //nolint:gosec // a root
				t.Fatal(err)
			}
		}
		if err := os.Symlink(w.dir, filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(w.dir, "file"), filepath.Join(dir, "d", "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "d", "a")); err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]int{".": 0, "a": 5, "d": 0, "d/b": 65535, "out": 7, "d/out": 0} {
			if err := os.Lchown(filepath.Join(dir, name), base+id, base+id); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Open(dir) //nolint:gosec // a test's own
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() }) //nolint:errcheck,gosec // only read
		return dir, f
	}
	t.Run("good", func(t *testing.T) {
		dir, f := newTree(t)
		if err := shiftTree(f, base, 10); err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]uint32{".": 0, "a": 5, "d": 0, "d/a": 5, "d/b": 65535, "out": 7, "d/out": 0} {
			fi, err := os.Lstat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if _, uid, gid := attributes(t, fi); uid != id || gid != id {
				t.Errorf("%s: %d:%d, expected %d", name, uid, gid, id)
			}
		}
		w.check(t)
	})
	for name, spoil := range map[string]func(dir string) error{
		"owner above the range": func(dir string) error { return os.Lchown(filepath.Join(dir, "d/b"), base+65536, base) },
		"group below the range": func(dir string) error { return os.Lchown(filepath.Join(dir, "d/b"), base, base-1) },
		"host's root":           func(dir string) error { return os.Lchown(filepath.Join(dir, "d/b"), 0, 0) },
		"setuid":                func(dir string) error { return os.Chmod(filepath.Join(dir, "d/b"), 0o755|fs.ModeSetuid) },
		"setgid directory":      func(dir string) error { return os.Chmod(filepath.Join(dir, "d"), 0o755|fs.ModeSetgid) },
		"fifo":                  func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "d/fifo"), 0o600) },
		"device": func(dir string) error {
			return unix.Mknod(filepath.Join(dir, "d/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
		},
		"too deep": func(dir string) error {
			for range 12 {
				dir = filepath.Join(dir, "e")
				if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, base, base)); err != nil { //nolint:gosec // a root
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, f := newTree(t)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if err := shiftTree(f, base, 10); err == nil || name == "too deep" && !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v", err)
			}
			w.check(t)
		})
	}
}

func TestOpenRefusesBadRange(t *testing.T) {
	for _, base := range []uint32{1, 65535, 1<<32 - 1} {
		if _, err := Open(t.TempDir(), Options{IDBase: base}); !errors.Is(err, ErrConfig) {
			t.Errorf("base %d: %v", base, err)
		}
	}
}

// A root image that another user could have written is not used.
func TestOwnerOfARoot(t *testing.T) {
	requireErofs(t)
	s := openStore(t, Options{})
	root := mustBuild(t, s, someKey, source(t, []tartest.Entry{tartest.File("x", "x")}))
	for name, c := range map[string]struct {
		change, back func() error
	}{
		"owner": {func() error { return os.Chown(root.Path, 65534, 0) }, func() error { return os.Chown(root.Path, 0, 0) }},
		"mode":  {func() error { return os.Chmod(root.Path, 0o664) }, func() error { return os.Chmod(root.Path, 0o644) }},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if l, err := s.Acquire(someKey); err == nil {
			l.Release()
			t.Errorf("%s: it is leased", name)
		}
		if err := c.back(); err != nil {
			t.Fatal(err)
		}
		l, err := s.Acquire(someKey)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l.Release()
	}
}

// The same for the directory around the tree of a directory root; the tree itself has the owner
// that the image gives it.
func TestOwnerOfADirectoryRoot(t *testing.T) {
	need.Root(t)
	s := openStore(t, Options{MkfsErofs: noTool})
	root := mustBuild(t, s, someKey, source(t, []tartest.Entry{tartest.File("x", "x")}))
	around := filepath.Dir(root.Path)
	if err := errors.Join(os.Lchown(root.Path, 1000, 1000), root.check()); err != nil {
		t.Fatalf("owner of the tree: %v", err)
	}
	if err := os.Chown(around, 65534, 0); err != nil {
		t.Fatal(err)
	}
	if root.check() == nil {
		t.Error("owner: accepted")
	}
	if err := errors.Join(os.Chown(around, os.Geteuid(), 0), os.Chmod(around, 0o775)); err != nil { //nolint:gosec // the attack
		t.Fatal(err)
	}
	if root.check() == nil {
		t.Error("mode: accepted")
	}
}
