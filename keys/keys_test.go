package keys

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCreateFindRevoke(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	text, made, err := f.Create("ci", true, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 43 {
		t.Errorf("a key of %d characters does not hold 256 bits", len(text))
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), text) || strings.Contains(string(data), strings.TrimPrefix(text, "tsubo_")) {
		t.Errorf("the key itself is in the file, or the file is not there: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []*File{f, again} {
		got, ok := file.Find(sha256.Sum256([]byte(text)))
		if !ok || got != made {
			t.Errorf("found %+v %v, want %+v", got, ok, made)
		}
		if _, ok := file.Find(sha256.Sum256([]byte(text + " "))); ok {
			t.Error("another text found a key")
		}
	}
	if err := f.Revoke("nope"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoke of none: %v", err)
	}
	if err := f.Revoke(made.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Find(sha256.Sum256([]byte(text))); ok {
		t.Error("a revoked key still finds")
	}
	again, err = Open(path)
	if err != nil || len(again.List()) != 0 {
		t.Errorf("after revoking: %v, %v", again.List(), err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keys-*"))
	if len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	for name, write := range map[string]func() error{
		"readable by others": func() error { return os.WriteFile(path, []byte("[]"), 0o644) },
		"damaged":            func() error { return os.WriteFile(path, []byte("[{"), 0o600) },
		"no hash":            func() error { return os.WriteFile(path, []byte(`[{"id":"a","sha256":"xx"}]`), 0o600) },
		"no id":              func() error { return os.WriteFile(path, []byte(`[{"sha256":"`+strings.Repeat("a", 64)+`"}]`), 0o600) },
		"a link":             func() error { return os.Symlink("/etc/passwd", path) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil {
			t.Errorf("%s: opened", name)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExpiryAndLastUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Truncate(time.Second)
	texts := map[string]string{}
	for name, expires := range map[string]time.Time{"past": start.Add(-time.Hour), "future": start.Add(time.Hour), "never": {}} {
		if texts[name], _, err = f.Create(name, false, expires); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range texts {
		key, ok := f.Find(sha256.Sum256([]byte(text)))
		if !ok || key.Expired(time.Now()) != (name == "past") {
			t.Errorf("%s: %+v, found %t", name, key, ok)
		}
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(written) {
		t.Errorf("Find wrote the file, or it is gone: %v", err)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []*File{f, again} {
		for _, key := range file.List() {
			if used := !key.LastUsedAt.Before(start); used != (key.Name != "past") {
				t.Errorf("%s: last use %v", key.Name, key.LastUsedAt)
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); err != nil {
		t.Error(err)
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(info, now) {
		t.Errorf("Flush wrote the file though nothing was used: %v", err)
	}
}
