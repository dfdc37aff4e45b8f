package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tartest"
)

// stub writes a mkfs.erofs that reports a version and otherwise runs a shell script, in which $real
// is the real one.
func stub(t *testing.T, version, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mkfs.erofs")
	text := "#!/bin/sh\nif [ \"$1\" = -V ]; then echo '" + version + "'; exit 0; fi\nreal=/usr/bin/mkfs.erofs\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return path
}

func TestTool(t *testing.T) {
	tests := []struct {
		name, version string
		want          string // version
		kind          Kind
		why           string
	}{
		{"1.4", "mkfs.erofs 1.4", "1.4", EROFS, ""},
		{"1.5", "mkfs.erofs 1.5", "1.5", EROFS, ""},
		{"1.8.5", "mkfs.erofs (erofs-utils) 1.8.5\navailable compressors: lz4", "1.8.5", EROFS, ""},
		{"2.0", "mkfs.erofs (erofs-utils) v2.0", "v2.0", EROFS, ""},
		{"1.7", "mkfs.erofs (erofs-utils) 1.7", "1.7", Directory, "1.8 or later"},
		{"1.7.1", "mkfs.erofs (erofs-utils) 1.7.1", "1.7.1", Directory, "1.8 or later"},
		{"1.3", "mkfs.erofs 1.3", "1.3", Directory, "too old"},
		{"no version", "hello", "", Directory, "does not tell"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, Options{MkfsErofs: stub(t, tt.version, "exit 1")})
			version, kind, why := s.Tool()
			if version != tt.want || kind != tt.kind || !strings.Contains(why, tt.why) || (why == "") != (kind == EROFS) {
				t.Errorf("%q, %s, %q", version, kind, why)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		need.Root(t)
		s := openStore(t, Options{MkfsErofs: noTool})
		if version, kind, why := s.Tool(); version != "" || kind != Directory || !strings.Contains(why, "erofs-utils") {
			t.Errorf("%q, %s, %q", version, kind, why)
		}
		if root := mustBuild(t, s, someKey, source(t, []tartest.Entry{tartest.File("x", "x")})); root.Kind != Directory {
			t.Errorf("root %+v", root)
		}
	})
	t.Run("missing on PATH", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		s := openStore(t, Options{})
		if _, kind, why := s.Tool(); kind != Directory || !strings.Contains(why, "erofs-utils") {
			t.Errorf("%s, %q", kind, why)
		}
	})
	t.Run("hangs", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mkfs.erofs")
		if err := os.WriteFile(path, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if tool := findTool(ctx, path); tool.file != nil || tool.why == "" {
			t.Errorf("%+v", tool)
		}
	})
}

// Whatever mkfs.erofs does wrong, no root comes of it, the error reports what, and nothing is left.
func TestBadMkfs(t *testing.T) {
	requireErofs(t)
	w := newWitness(t)
	tests := []struct {
		name, script string
		want         string
	}{
		{"fails", "echo out of cheese >&2; exit 3", "exit status 3: out of cheese"},
		{"floods its output", "yes abcdefgh | head -c 20000000; exit 4", "exit status 4: …"},
		{"writes nothing", "exit 0", "open image"},
		{"writes an empty file", ": > /out/root.erofs", "read image"},
		{"writes garbage", "head -c 100000 /mkfs.erofs > /out/root.erofs; head -c 100000 /usr/bin/env >> /out/root.erofs", "read image"},
		{"writes a directory", "mkdir /out/root.erofs", "not a regular file"},
		{"writes a link", "echo x > /out/x; ln -s x /out/root.erofs", "open image"},
		{"writes a link out", "ln -s " + w.dir + "/file /out/root.erofs", "open image"},
		{"writes a FIFO", "mkfifo /out/root.erofs; exec 3<>/out/root.erofs", "not a regular file"},
		{"truncates", `"$real" "$@" || exit 1; truncate -s 8192 /out/root.erofs`, "differs"},
		{"flips a byte of a file", `"$real" "$@" || exit 1
off=$(grep -abo needle /out/root.erofs | head -n1 | cut -d: -f1); [ -n "$off" ] || exit 9; printf N | dd of=/out/root.erofs bs=1 seek="$off" conv=notrunc`, "another content"},
		{"flips a byte of a name", `"$real" "$@" || exit 1
off=$(grep -abo somefile /out/root.erofs | head -n1 | cut -d: -f1); [ -n "$off" ] || exit 9; printf S | dd of=/out/root.erofs bs=1 seek="$off" conv=notrunc`, "differs"},
		{"forgets a file", `exec "$real" --exclude-path=somefile "$@"`, "entries, expected"},
		{"gives all to root", `exec "$real" --all-root "$@"`, "owner 0:0, expected"},
		{"gives all to another", `exec "$real" --force-uid=5 "$@"`, "owner 5:"},
		{"forgets times", `unset SOURCE_DATE_EPOCH; exec "$real" -T0 "$@"`, "time 0."},
		{"stores data inline", `shift; exec "$real" "$@"`, "not flat"},
		{"compresses", `exec "$real" -zlz4hc "$@"`, ""},
		{"packs another tree", `mkdir /out/other; echo x > /out/other/x; exec "$real" -Enoinline_data -x-1 --quiet /out/root.erofs /out/other`, "differs"},
		{"hard links the image", `"$real" "$@" || exit 1; ln /out/root.erofs /out/other`, "2 links"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", tt.script)})
			root, err := s.Build(context.Background(), someKey, source(t, []tartest.Entry{
				tartest.Dir("d"),
				{Name: "somefile", Mode: 0o644, UID: 7, GID: 8, ModTime: 1234567, Size: -1, Body: strings.Repeat("needle in a haystack ", 1000)},
				tartest.Symlink("link", "somefile"),
			}))
			if err == nil {
				t.Fatalf("built %+v", root)
			}
			if !errors.Is(err, ErrTool) && tt.name != "hard links the image" {
				t.Errorf("error of another kind: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
			if strings.Contains(Message(err), s.dir) {
				t.Errorf("message shows a host path: %q", Message(err))
			}
			w.check(t)
			nothingLeft(t, s)
		})
	}
}

// What runs as mkfs.erofs sees the tree, can write its image, and nothing else: not even what
// everybody may read and write.
func TestMkfsIsConfined(t *testing.T) {
	requireErofs(t)
	w := newWitness(t)
	script := `
for path in /etc /home /root /var /proc /sys /dev /run /tmp /work ` + w.dir + `; do [ -e "$path" ] && echo "sees $path"; done
cat ` + w.dir + `/file && echo "reads the witness"
echo x > ` + w.dir + `/file && echo "writes the witness"
echo x > /tree/new && echo "writes the tree"
rm -f /tree/somefile; [ -e /tree/somefile ] || echo "removes from the tree"
chown 1 /out && echo "may chown"
(ulimit -S -n 10) && echo "has no filter of system calls"
chmod 4777 /usr/bin/env && echo "changes the host"
true > /usr/new && echo "writes to the host"
mkdir /out/m && mount -t tmpfs x /out/m && echo "may mount"
kill -0 ` + itoa(uint64(os.Getpid())) + ` && echo "sees the host's processes"
[ "$(cat /tree/locked/file)" = secret ] || echo "cannot read what is closed to its owner"
[ "$(id -u):$(id -g):$(id -G)" = 0:0:0 ] || echo "runs as $(id)"
[ "$PWD" = / ] && [ "$(env | grep -cv -e PWD -e SOURCE_DATE_EPOCH -e ^_=)" = 0 ] || echo "has an environment"
exit 9`
	s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", "exec 2>/out/err\n"+script)})
	_, err := s.Build(context.Background(), someKey, source(t, []tartest.Entry{
		tartest.File("somefile", "x"), {Name: "locked", Type: '5'}, {Name: "locked/file", Size: -1, Body: "secret"},
	}))
	if err == nil || !strings.Contains(err.Error(), "exit status 9;") {
		t.Errorf("error %v", err)
	}
	w.check(t)
	nothingLeft(t, s)
}

func TestCancel(t *testing.T) {
	requireErofs(t)
	src := source(t, []tartest.Entry{tartest.File("x", "x")})
	s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", "exec sleep 1000")})
	cause := errors.New("client is gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 2)
	go func() { _, err := s.Build(ctx, someKey, src); done <- err }()
	waitFor(t, "mkfs to run", func() bool { return fileExists(s, "work/out") })
	// A second build, of another key, waits for its turn and can be cancelled there.
	go func() {
		_, err := s.Build(ctx, "sha256:"+strings.Repeat("cd", 32), src)
		done <- err
	}()
	waitFor(t, "both builds", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.builds) == 2 })
	cancel(cause)
	for range 2 {
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("error %v", err)
		}
	}
	nothingLeft(t, s)
}

func TestProcessorTime(t *testing.T) {
	requireErofs(t)
	s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", "while :; do :; done"), Limits: Limits{CPU: time.Second}})
	_, err := s.Build(context.Background(), someKey, source(t, []tartest.Entry{tartest.File("x", "x")}))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(Message(err), "processor time") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t, s)
}

func TestWall(t *testing.T) {
	requireErofs(t)
	s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", "exec sleep 1000"), Limits: Limits{Wall: 300 * time.Millisecond}})
	_, err := s.Build(context.Background(), someKey, source(t, []tartest.Entry{tartest.File("x", "x")}))
	if !errors.Is(err, ErrInvalid) || !strings.Contains(Message(err), "300ms") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t, s)
}

// One of two who wait for a build leaves: the other gets its root.
func TestOneWaiterLeaves(t *testing.T) {
	requireErofs(t)
	src := source(t, []tartest.Entry{tartest.File("x", "x")})
	s := openStore(t, Options{MkfsErofs: stub(t, "mkfs.erofs 1.5", `sleep 0.5; exec "$real" "$@"`)})
	ctx, cancel := context.WithCancel(context.Background())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := s.Build(ctx, someKey, src); left <- err }()
	waitFor(t, "the build", func() bool { return fileExists(s, "work/out") })
	go func() { _, err := s.Build(context.Background(), someKey, src); stayed <- err }()
	waitFor(t, "two waiters", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.builds[someKey] != nil && s.builds[someKey].waiters == 2
	})
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	if err := <-stayed; err != nil {
		t.Errorf("who stayed: %v", err)
	}
}

// fileExists reports whether a build has made a file in staging.
func fileExists(s *Store, name string) bool {
	found, _ := filepath.Glob(filepath.Join(s.stagingDir(), "*", name))
	return len(found) > 0
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
