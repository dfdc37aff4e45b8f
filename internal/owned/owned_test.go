package owned

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

func TestLook(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(top string) error
		part   string // expected part of the error; empty means none
	}{
		"as it should be": {func(string) error { return nil }, ""},
		"readable":        {func(top string) error { return os.Chmod(top+"/a/b", 0o755) }, ""},
		"missing":         {func(top string) error { return os.RemoveAll(top + "/a") }, ""},
		"writable by all": {func(top string) error { return os.Chmod(top+"/a/b", 0o757) }, "chmod go-w"},
		"writable group":  {func(top string) error { return os.Chmod(top+"/a/b", 0o770) }, "chmod go-w"},
		"sticky": {func(top string) error { return os.Chmod(top+"/a/b", os.ModeSticky|0o777) },
			"name a path elsewhere"},
		"parent writable": {func(top string) error { return os.Chmod(top+"/a", 0o777) }, "/a\" is not in the hands"},
		"parent writable, itself missing": {func(top string) error {
			return errors.Join(os.Remove(top+"/a/b"), os.Chmod(top+"/a", 0o777))
		}, "/a\" is not in the hands"},
		"a file": {func(top string) error {
			return errors.Join(os.Remove(top+"/a/b"), os.WriteFile(top+"/a/b", nil, 0o600))
		}, "not a directory"},
		"a link to a good one": {func(top string) error {
			return errors.Join(os.Remove(top+"/a/b"), os.Mkdir(top+"/c", 0o700), os.Symlink(top+"/c", top+"/a/b"))
		}, ""},
		"a link to a bad one": {func(top string) error {
			return errors.Join(os.Remove(top+"/a/b"), os.Mkdir(top+"/c", 0o700), os.Chmod(top+"/c", 0o777),
				os.Symlink(top+"/c", top+"/a/b"))
		}, "/c\" is not in the hands"},
		"a link to nowhere": {func(top string) error {
			return errors.Join(os.Remove(top+"/a/b"), os.Symlink(top+"/c", top+"/a/b"))
		}, "link to nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			must(os.Chmod(top, 0o755))
			must(os.MkdirAll(top+"/a/b", 0o700))
			must(c.change(top))
			err := look(top+"/a/b", top, unix.S_IFDIR)
			if (err == nil) != (c.part == "") || err != nil && !strings.Contains(err.Error(), c.part) {
				t.Errorf("error %v, want %q in it", err, c.part)
			}
		})
	}
}

func TestOwner(t *testing.T) {
	need.Root(t)
	top := t.TempDir()
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(top+"/a", 0o755), os.Mkdir(top+"/a/b", 0o755),
		os.Chown(top+"/a", 1234, 0)); err != nil {
		t.Fatal(err)
	}
	if err := look(top+"/a/b", top, unix.S_IFDIR); !errors.Is(err, ErrOthers) ||
		!strings.Contains(err.Error(), "uid 1234") {
		t.Errorf("another's parent: error %v", err)
	}
	file := filepath.Join(top, "file")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, 1234, 0)); err != nil {
		t.Fatal(err)
	}
	if err := look(file, top, unix.S_IFREG); !errors.Is(err, ErrOthers) {
		t.Errorf("another's file: error %v", err)
	}
}

func TestSticky(t *testing.T) {
	if err := Dir("/tmp/tsubo"); !errors.Is(err, ErrOthers) {
		t.Errorf("below /tmp: error %v", err)
	}
	if err := Dir("relative"); err == nil {
		t.Error("a relative path is taken")
	}
}
