package store_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func finished(t *testing.T, s *store.Store, id string, data ...string) *job.Record {
	t.Helper()
	rec := &job.Record{ID: id, Caller: "uid:1", Status: job.Queued, Async: true, JobType: "default"}
	if _, err := s.Accept(t.Context(), rec, &job.Request{Code: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(t.Context(), id, 0, "w", time.Now()); err != nil {
		t.Fatal(err)
	}
	rec.Status = job.Succeeded
	var artifacts []job.Artifact
	for _, d := range data {
		artifacts = append(artifacts, job.Artifact{Name: "a", Data: []byte(d)})
	}
	if err := s.Finish(t.Context(), rec, artifacts); err != nil {
		t.Fatal(err)
	}
	return rec
}

// template is a closed store with 200 finished jobs, made once.
var template struct {
	once sync.Once
	dir  string
	last *job.Record
}

// filled returns a copy of template.
func filled(t *testing.T) (dir string, last *job.Record) {
	t.Helper()
	template.once.Do(func() {
		made, err := os.MkdirTemp("", "store-template")
		must(t, err)
		template.dir = made
		s := open(t, made)
		var all sync.WaitGroup
		for w := range 20 {
			all.Go(func() {
				for i := range 10 {
					finished(t, s, fmt.Sprintf("job-%d-%d", w, i), fmt.Sprint("artifact ", w, i))
				}
			})
		}
		all.Wait()
		template.last = finished(t, s, "job-last", "artifact last")
		must(t, s.Close())
	})
	dir = t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(template.dir)))
	return dir, template.last
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "da ta?mode=ro#x%41") // special characters must not become options
	s := open(t, dir)
	finished(t, s, "job-1", "x")
	must(t, s.Close())
	must(t, os.Chmod(filepath.Join(dir, "tsubo.db"), 0o644)) // changed from outside
	s = open(t, dir)
	finished(t, s, "job-2", "y")
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		seen++
		return nil
	})
	if err != nil || seen < 8 {
		t.Errorf("%d files, %v", seen, err)
	}
}

// A damaged database is refused or found, by name and with a remedy, and is never served as if
// intact.
func TestDamagedDatabase(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database":      func([]byte) []byte { return []byte(strings.Repeat("this is a text file\n", 500)) },
		"short":            func([]byte) []byte { return []byte("SQLite") },
		"header zeroed":    func(b []byte) []byte { clear(b[:100]); return b },
		"cut in half":      func(b []byte) []byte { return b[:len(b)/2/4096*4096] },
		"schema scrambled": func(b []byte) []byte { copy(b[100:], bytes.Repeat([]byte{0xff}, 3000)); return b },
		"pages scrambled": func(b []byte) []byte {
			for i := 8 * 4096; i < len(b); i += 4096 {
				copy(b[i:], bytes.Repeat([]byte{0xff}, 200))
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := filled(t)
			file := filepath.Join(dir, "tsubo.db")
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), store.Config{Dir: dir})
			if err == nil {
				err = s.Check(t.Context())
				_ = s.Close()
			}
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), file) ||
				!strings.Contains(err.Error(), "restore a backup") {
				t.Errorf("error %v; want ErrCorrupt that names %s and a backup", err, file)
			}
		})
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir, _ := filled(t)
	change(t, dir, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`)
	_, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("error %v, want one about version 99", err)
	}
}

// change modifies a database that no process has open.
func change(t *testing.T, dir, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "tsubo.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Check finds each kind of damage.
func TestCheckFinds(t *testing.T) {
	artifactFile := func(dir string, rec *job.Record) string {
		d := rec.Artifacts[0].SHA256
		return filepath.Join(dir, "artifacts", d[:2], d)
	}
	orphan := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		damage func(*testing.T, string, *job.Record)
		want   string
	}{
		"missing artifact": {func(t *testing.T, dir string, rec *job.Record) {
			must(t, os.Remove(artifactFile(dir, rec)))
		}, "is missing"},
		"changed artifact": {func(t *testing.T, dir string, rec *job.Record) {
			must(t, os.WriteFile(artifactFile(dir, rec), []byte("artifact XXX"), 0o600))
		}, "has changed"},
		"artifact replaced by a link": {func(t *testing.T, dir string, rec *job.Record) {
			elsewhere := filepath.Join(t.TempDir(), "same bytes")
			must(t, os.Rename(artifactFile(dir, rec), elsewhere))
			must(t, os.Symlink(elsewhere, artifactFile(dir, rec)))
		}, ""},
		"reference to nothing": {func(t *testing.T, dir string, _ *job.Record) {
			change(t, dir, `DELETE FROM records WHERE id = 'job-7-7'`)
		}, "refers to nothing"},
		"wrong count": {func(t *testing.T, dir string, _ *job.Record) {
			change(t, dir, `UPDATE artifacts SET refs = refs + 1`)
		}, "wrong count"},
		"wrong sum": {func(t *testing.T, dir string, _ *job.Record) {
			change(t, dir, `UPDATE callers SET bytes = bytes + 1`)
		}, "wrong sum"},
		"caller without a row": {func(t *testing.T, dir string, _ *job.Record) {
			change(t, dir, `DELETE FROM callers`)
		}, "no row for its caller"},
		"nothing": {func(*testing.T, string, *job.Record) {}, "-"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, rec := filled(t)
			c.damage(t, dir, rec)
			s := open(t, dir)
			err := s.Check(t.Context())
			if c.want == "-" {
				must(t, err)
				must(t, os.MkdirAll(filepath.Join(dir, "artifacts", orphan[:2]), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, "artifacts", orphan[:2], orphan), nil, 0o600))
				if err = s.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) ||
					!strings.Contains(err.Error(), "belongs to no record") {
					t.Errorf("an orphan: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) ||
				(c.want != "" && !errors.Is(err, store.ErrCorrupt)) {
				t.Errorf("check: %v, want %q", err, c.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Open removes leftovers of a crash and nothing else.
func TestOpenSweeps(t *testing.T) {
	dir, rec := filled(t)
	folder := filepath.Join(dir, "artifacts")
	orphan := strings.Repeat("cd", 32)
	must(t, os.MkdirAll(filepath.Join(folder, "cd"), 0o700))
	must(t, os.WriteFile(filepath.Join(folder, "cd", orphan), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "cd", "notes.txt"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "tmp", "unfinished"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, ".snapshot-half"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "backup-of-mine.tar"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("x"), 0o600))
	s := open(t, dir)
	must(t, s.Check(t.Context()))
	for path, want := range map[string]bool{
		filepath.Join(folder, "cd", orphan): false, filepath.Join(folder, "tmp", "unfinished"): false,
		filepath.Join(dir, ".snapshot-half"):     false,
		filepath.Join(folder, "cd", "notes.txt"): true, filepath.Join(dir, "config.yaml"): true,
		filepath.Join(dir, "backup-of-mine.tar"):                                    true,
		filepath.Join(folder, rec.Artifacts[0].SHA256[:2], rec.Artifacts[0].SHA256): true,
	} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", path, err, want)
		}
	}
	if n := s.Stats().Removed; n != 1 {
		t.Errorf("%d files swept, want 1", n)
	}
}

// If the file cannot be written, the row stays unchanged: no record without its bytes.
func TestNoRowWithoutItsFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	rec := finished(t, s, "job-1", "first")
	d := rec.Artifacts[0].SHA256
	must(t, s.Delete(t.Context(), "job-1"))
	must(t, os.Remove(filepath.Join(dir, "artifacts", d[:2])))
	must(t, os.WriteFile(filepath.Join(dir, "artifacts", d[:2]), nil, 0o600)) // in place of the directory
	again := &job.Record{ID: "job-2", Caller: "uid:1", Status: job.Queued, Async: true}
	_, err := s.Accept(t.Context(), again, nil)
	must(t, err)
	again.Status = job.Failed
	if err := s.Finish(t.Context(), again, []job.Artifact{{Name: "a", Data: []byte("first")}}); err == nil {
		t.Error("finished without its file")
	}
	if got, err := s.Get(t.Context(), "job-2"); err != nil || got.Status != job.Queued {
		t.Errorf("%+v, %v", got, err)
	}
}

// A backup of a store with a damaged artifact is written and reports the damage.
func TestBackupOfADamagedStore(t *testing.T) {
	dir, rec := filled(t)
	d := rec.Artifacts[0].SHA256
	must(t, os.Remove(filepath.Join(dir, "artifacts", d[:2], d)))
	s := open(t, dir)
	path := filepath.Join(t.TempDir(), "b.tar")
	if err := s.Backup(t.Context(), path); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), d) {
		t.Errorf("backup: %v, want ErrCorrupt naming %s", err, d)
	}
	if info, err := os.Stat(path); err != nil || info.Size() < 100_000 {
		t.Errorf("backup: %v, %v", info, err)
	}
}
