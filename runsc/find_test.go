package runsc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake writes an executable shell script in a directory that passes the rules of Find up to top.
func fake(t *testing.T, script string) (path, top string) {
	t.Helper()
	top = t.TempDir()
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(top, "usr", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "runsc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, top
}

func me() uint32 { return uint32(os.Geteuid()) }

func TestFind(t *testing.T) {
	path, top := fake(t, "true")
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Path != path || len(r.SHA256()) != 64 {
		t.Errorf("path %q, hash %q", r.Path, r.SHA256())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if r, err := find(link, top, []uint32{me()}); err != nil || r.Path != path {
		t.Errorf("through a link: %v, %v", r, err)
	}
}

// TestFindRefuses checks attack J01.
func TestFindRefuses(t *testing.T) {
	chmod := func(up int, mode os.FileMode) func(path string) string {
		return func(path string) string {
			target := path
			for range up {
				target = filepath.Dir(target)
			}
			if err := os.Chmod(target, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	for _, test := range []struct {
		name   string
		change func(path string) string
		want   string
	}{
		{"missing", func(path string) string { return path + "x" }, "no such file"},
		{"empty", func(string) string { return "" }, "absolute"},
		{"relative", func(string) string { return "runsc" }, "absolute"},
		{"with NUL", func(path string) string { return path + "\x00x" }, "absolute"},
		{"a directory", filepath.Dir, "regular"},
		{"a device", func(string) string { return "/dev/null" }, "regular"},
		{"not executable", chmod(0, 0o644), "executable"},
		{"setuid", chmod(0, 0o755|os.ModeSetuid), "setuid"},
		{"group-writable", chmod(0, 0o775), "writable"},
		{"world-writable", chmod(0, 0o757), "writable"},
		{"directory group-writable", chmod(1, 0o775), "writable"},
		{"directory world-writable and sticky", chmod(1, 0o777|os.ModeSticky), "writable"},
		{"parent directory world-writable", chmod(2, 0o777), "writable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path, top := fake(t, "true")
			_, err := find(test.change(path), top, []uint32{me()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("another owner", func(t *testing.T) {
		path, top := fake(t, "true")
		r := &Runsc{Path: path, top: top, owners: []uint32{me() + 1}}
		if _, err := r.inspect(); err == nil || !strings.Contains(err.Error(), "belongs to") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("below the temporary directory", func(t *testing.T) {
		path, _ := fake(t, "true")
		if _, err := Find(path, me()); err == nil {
			t.Error("is accepted")
		}
	})
}

func TestCheck(t *testing.T) {
	path, top := fake(t, "true")
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(script string) {
		t.Helper()
		other := path + ".new"
		if err := os.WriteFile(other, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(other, path); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := r.Check(); err != nil {
			t.Errorf("unchanged: %v", err)
		}
	}
	replace("true") // the same content in another file
	if err := r.Check(); err != nil {
		t.Errorf("the same content: %v", err)
	}
	for name, change := range map[string]func(){
		"replaced": func() { replace("false") },
		"written in place, time put back": func() {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("#!/bin/sh\ntru!\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
		"writable":  func() { _ = os.Chmod(path, 0o777) },
		"a link":    func() { _ = os.Rename(path, path+".old"); _ = os.Symlink(path+".old", path) },
		"gone":      func() { _ = os.Remove(path) },
		"directory": func() { _ = os.Chmod(filepath.Dir(path), 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			path, top = fake(t, "true")
			if r, err = find(path, top, []uint32{me()}); err != nil {
				t.Fatal(err)
			}
			change()
			if err := r.Check(); !errors.Is(err, ErrChanged) {
				t.Errorf("error %v", err)
			}
			// Run refuses the binary, too.
			if err := r.UseRoot(filepath.Join(t.TempDir(), "root")); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Run(t.Context(), RunOpts{ID: "a", Bundle: t.TempDir()}); !errors.Is(err, ErrChanged) {
				t.Errorf("run: error %v", err)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for _, test := range []struct{ script, want, err string }{
		{"echo runsc version release-1.2; echo spec: 1", "release-1.2", ""},
		{"echo runsc version", "", "printed"},
		{"echo runc version 1.1", "", "printed"},
		{"printf 'runsc version a\\033[2J\\n'", "", "printed"},
		{"exec yes", "", "signal"},
		{"true", "", "printed"},
		{"echo broken >&2; false", "", "broken"},
	} {
		t.Run(test.script, func(t *testing.T) {
			path, top := fake(t, test.script)
			r, err := find(path, top, []uint32{me()})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if test.script == "exec yes" { // endless output uses no memory and ends with ctx
				ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			}
			defer cancel()
			got, err := r.Version(ctx)
			if got != test.want || (err == nil) != (test.err == "") ||
				err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q, %v; want %q, %q", got, err, test.want, test.err)
			}
		})
	}
}

// Two changes within a clock tick have the same timestamps, so the second change is invisible
// there.
func TestYoungFileIsNotTakenForTheSame(t *testing.T) {
	old := identity{dev: 1, ino: 2, size: 3}
	young := old
	young.young = true
	if !old.sameFile(old) || young.sameFile(young) {
		t.Errorf("same: old %v, young %v", old.sameFile(old), young.sameFile(young))
	}
	path, top := fake(t, "true")
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	if !r.id.young {
		t.Error("a file that was just written is not young")
	}
}
