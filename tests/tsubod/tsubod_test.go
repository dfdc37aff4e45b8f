package tsubod

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

func TestBundleOf(t *testing.T) {
	for want, args := range map[string][]string{
		"/r/a": {"runsc-sandbox", "--root=/r/runsc", "boot", "--bundle=/r/a", "id"},
		"/r/b": {"/x/runsc-gofer", "--root=/r/runsc", "gofer", "--bundle", "/r/b"},
	} {
		if got := bundleOf(args, "/r/runsc"); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
		if got := bundleOf(args, "/r/run"); got != "" {
			t.Errorf("another daemon's %q: %q", args, got)
		}
	}
	for _, args := range [][]string{nil, {"grep", "--root=/r/runsc", "--bundle=/r/a"}, {"runsc-sandbox", "--root=/r/runsc", "--bundle"}} {
		if got := bundleOf(args, "/r/runsc"); got != "" {
			t.Errorf("%q: %q", args, got)
		}
	}
}

func TestConfig(t *testing.T) {
	o := Options{Name: "n", Dir: "/d", Runsc: "/runsc", Config: "max_workers: 3\n"}
	if c := o.config(); strings.Contains(c, "cgroup_parent") || !strings.Contains(c, "security_mode: permissive") || !strings.Contains(c, "max_workers: 3") {
		t.Errorf("permissive: %s", c)
	}
	o.Strict = true
	if c := o.config(); !strings.Contains(c, "security_mode: strict\ncgroup_parent: /tsubo-n\n") {
		t.Errorf("strict: %s", c)
	}
}

// TestInstall: whoever the clone belongs to and whatever the umask is, everybody can execute what
// lies there and only its owner replace it.
func TestInstall(t *testing.T) {
	need.Root(t)
	bin := t.TempDir()
	write := func(name string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(bin, name)), 0o700), os.WriteFile(filepath.Join(bin, name), []byte(name), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Install(bin); err == nil {
		t.Error("nothing was there")
	}
	write("tsubo-init")
	for _, files := range [][]string{{"tsubo-init"}, {"tsubo-init", "gvisor-bin/gvisor_sentry"}} {
		write(files[len(files)-1])
		umask := unix.Umask(0o077)
		dir, err := Install(bin)
		unix.Umask(umask)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		var found []string
		err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			info, err2 := e.Info()
			if err := errors.Join(err, err2); err != nil {
				return err
			}
			if info.Mode().Perm() != 0o755 {
				t.Errorf("%s: %v", path, info.Mode())
			}
			if !e.IsDir() {
				name, _ := filepath.Rel(dir, path)
				data, err := os.ReadFile(path)
				if string(data) != name {
					t.Errorf("%s has %q, %v", name, data, err)
				}
				found = append(found, name)
			}
			return nil
		})
		slices.Sort(files)
		if err != nil || !slices.Equal(found, files) {
			t.Errorf("%q, %v, want %q", found, err, files)
		}
	}
}

func TestBufferKeepsTheEnd(t *testing.T) {
	var b buffer
	for range 3 {
		if _, err := b.Write(bytes.Repeat([]byte("x"), maxLog)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = b.Write([]byte("the end"))
	if s := b.String(); len(s) > 2*maxLog || !strings.HasSuffix(b.tail(), "the end") {
		t.Errorf("%d bytes, ends with %q", len(s), b.tail()[1990:])
	}
}
