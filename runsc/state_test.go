package runsc

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveState(t *testing.T) {
	r := faked(t, "true")
	mine := []string{
		"a_sandbox:a.state",
		"a_sandbox:a.lock",
		"runsc-a.sock",
		"sub_sandbox:a.state",
		"sub_sandbox:a.lock",
	}
	others := []string{
		// A container named a in another sandbox.
		"b_sandbox:b.state", "b_sandbox:b.lock", "runsc-b.sock", "a_sandbox:b.state",
		"aa_sandbox:aa.lock", "runsc-aa.sock", "a", "a.state", "runsc-a", "note",
	}
	touch(t, r.Root, append(mine, others...)...)
	if ids, err := r.Leftovers(); err != nil || !slices.Equal(ids, []string{"a", "aa", "b"}) {
		t.Errorf("leftovers %q, %v", ids, err)
	}
	for range 2 {
		if err := r.RemoveState("a"); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(r.Root)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	slices.Sort(others)
	if !slices.Equal(left, others) {
		t.Errorf("left %q, want %q", left, others)
	}

	// A file that cannot be removed is reported, and the others are removed.
	for _, name := range []string{"runsc-b.sock"} {
		if err := os.Remove(filepath.Join(r.Root, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(r.Root, name, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if r.RemoveState("b") == nil {
		t.Error("a directory in the place of a socket is no error")
	}
	if _, err := os.Stat(filepath.Join(r.Root, "b_sandbox:b.lock")); !os.IsNotExist(err) {
		t.Errorf("the lock: %v", err)
	}

	r.Root = filepath.Join(r.Root, "missing")
	if ids, err := r.Leftovers(); err != nil || len(ids) > 0 {
		t.Errorf("no root: %q, %v", ids, err)
	}
	if err := r.RemoveState("a"); err != nil {
		t.Errorf("no root: %v", err)
	}
}

func TestUseRoot(t *testing.T) {
	r := faked(t, "true")
	dir := filepath.Join(t.TempDir(), "r")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := r.UseRoot(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	touch(t, filepath.Dir(file), "file")
	for _, bad := range []string{"", "r", dir + "/", link, file, filepath.Join(dir, "a", "b")} {
		if r.UseRoot(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
		if r.Root != dir {
			t.Errorf("%q has become the root", r.Root)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 1, 1); err != nil {
			t.Fatal(err)
		}
		if r.UseRoot(dir) == nil {
			t.Error("another's directory is accepted")
		}
	}
}
