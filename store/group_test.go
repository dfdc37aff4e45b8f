package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func openHere(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(t.Context(), cfg)
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

func accepted(t *testing.T, s *Store, id string) *job.Record {
	t.Helper()
	rec := &job.Record{ID: id, Caller: "uid:1", Status: job.Queued, Async: true}
	if _, err := s.Accept(t.Context(), rec, &job.Request{Code: "x"}); err != nil {
		t.Fatal(err)
	}
	return rec
}

// occupy blocks the writer until release, so that all operations submitted meanwhile form a group.
func occupy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	hold, busy := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.writer.alone(context.Background(), func(*tx) error {
			close(busy)
			<-hold
			return nil
		})
	}()
	<-busy
	return func() {
		close(hold)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// queued waits until n operations wait for the writer.
func queued(t *testing.T, s *Store, n int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); len(s.writer.ops) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d operations wait, want %d", len(s.writer.ops), n)
		}
	}
}

// Durable operations are synced, and no other operation pays for a sync.
func TestSyncsWhenSomebodyNeedsIt(t *testing.T) {
	s := openHere(t, Config{})
	syncs := func(do func()) int64 {
		before := s.Stats().Syncs
		do()
		return s.Stats().Syncs - before
	}
	mode := func() (m int) {
		if err := s.writer.alone(t.Context(),
			func(tx *tx) error { return tx.one("PRAGMA synchronous", nil, &m) }); err != nil {
			t.Fatal(err)
		}
		return m
	}
	rec := &job.Record{}
	if n := syncs(func() { rec = accepted(t, s, "a") }); n != 1 || mode() != 2 {
		t.Errorf("accept: %d syncs, mode %d", n, mode())
	}
	if n := syncs(func() {
		if err := s.Begin(t.Context(), "a", 0, "w", time.Now()); err != nil {
			t.Error(err)
		}
	}); n != 0 || mode() != 1 {
		t.Errorf("begin: %d syncs, mode %d", n, mode())
	}
	for name, do := range map[string]func() error{
		"requeue": func() error { return s.Requeue(t.Context(), "a") },
	} {
		if n := syncs(func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		}); n != 1 || mode() != 2 {
			t.Errorf("%s: %d syncs, mode %d", name, n, mode())
		}
	}
	rec.Status = job.Cancelled
	if n := syncs(func() {
		if err := s.Finish(t.Context(), rec, nil); err != nil {
			t.Error(err)
		}
	}); n != 1 || mode() != 2 {
		t.Errorf("finish: %d syncs, mode %d", n, mode())
	}
	if n := syncs(func() {
		s.Save(&job.Record{ID: "s", Status: job.Succeeded}, nil, nil)
		if _, err := s.Get(t.Context(), "s"); err != nil {
			t.Error(err)
		}
	}); n != 0 || mode() != 1 {
		t.Errorf("save: %d syncs, mode %d", n, mode())
	}
	if n := syncs(func() {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("delete: %d syncs", n)
	}
	if n := syncs(func() { // a durable operation makes the group durable
		accepted(t, s, "b")
		release := occupy(t, s)
		var both sync.WaitGroup
		both.Go(func() {
			if err := s.Begin(context.Background(), "b", 0, "w", time.Now()); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := s.Accept(context.Background(), &job.Record{ID: "c", Status: job.Queued, Async: true},
				nil); err != nil {
				t.Error(err)
			}
		})
		queued(t, s, 2)
		release()
		both.Wait()
	}); n != 2 {
		t.Errorf("a mixed group: %d syncs, want 1 beside that of the first accept", n-1)
	}
}

// A failed operation does not affect the rest of its group.
func TestGroupWithFailures(t *testing.T) {
	s := openHere(t, Config{})
	accepted(t, s, "twice")
	before := s.Stats()
	release := occupy(t, s)
	const n = 20
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			id := fmt.Sprint("job-", i)
			if i%2 == 0 {
				id = "twice"
			}
			_, failed[i] = s.Accept(context.Background(),
				&job.Record{ID: id, Caller: "uid:1", Status: job.Queued, Async: true,
					Metadata: map[string]string{"a": "b"}}, nil)
		})
	}
	all.Go(func() { // fails after it has written
		if err := s.write(context.Background(), true, func(tx *tx) error {
			if _, err := tx.exec(`UPDATE records SET job_type = 'half'`); err != nil {
				return err
			}
			return errSavesFull
		}); !errors.Is(err, errSavesFull) {
			t.Errorf("the operation that fails: %v", err)
		}
	})
	queued(t, s, n+1)
	release()
	all.Wait()
	if items, _, err := s.List(t.Context(), job.Filter{JobType: "half", Limit: 1}); err != nil || len(items) > 0 {
		t.Errorf("what a failed operation wrote is kept: %v, %v", items, err)
	}
	for i, err := range failed {
		if (err == nil) != (i%2 == 1) {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	if got := s.Stats().Commits - before.Commits; got != 1 {
		t.Errorf("%d commits, want one group", got)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// An operation too large for the disk does not fail the rest of its group.
func TestGroupWithoutSpace(t *testing.T) {
	s := openHere(t, Config{})
	accepted(t, s, "first")
	limit := func(pages int) {
		t.Helper()
		if err := s.writer.alone(t.Context(), func(tx *tx) error {
			var n int
			return tx.one(fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil, &n)
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(200)
	release := occupy(t, s)
	const n = 9
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			req := &job.Request{Code: "x"}
			if i == 4 {
				req.Code = strings.Repeat("x", 4<<20)
			}
			_, failed[i] = s.Accept(context.Background(),
				&job.Record{ID: fmt.Sprint("job-", i), Status: job.Queued, Async: true}, req)
		})
	}
	queued(t, s, n)
	release()
	all.Wait()
	for i, err := range failed {
		if i == 4 && !errors.Is(err, ErrNoSpace) {
			t.Errorf("the big one: %v, want ErrNoSpace", err)
		}
		if i != 4 && err != nil {
			t.Errorf("operation %d: %v", i, err)
		}
	}
	limit(1 << 30)
	accepted(t, s, "afterwards")
}

// A file is never removed while a result with the same bytes is stored or a backup runs.
func TestPinnedAndHeldFilesStay(t *testing.T) {
	s := openHere(t, Config{})
	data := []byte("pinned")
	rec := accepted(t, s, "a")
	rec.Status = job.Failed
	if err := s.Finish(t.Context(), rec, []job.Artifact{{Name: "a", Data: data}}); err != nil {
		t.Fatal(err)
	}
	digest := rec.Artifacts[0].SHA256
	there := func() bool {
		_, err := os.Lstat(s.files.path(digest))
		return err == nil
	}
	// another result with the same bytes begins
	_, done, err := s.keepFiles(t.Context(), []job.Artifact{{Name: "b", Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(t.Context(), Retention{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !there() {
		t.Error("removed while pinned")
	}
	done(true)
	release := s.files.hold()
	if _, err := s.Purge(t.Context(), Retention{}); err != nil {
		t.Fatal(err)
	}
	if !there() {
		t.Error("removed while a backup runs")
	}
	release()
	if got, err := s.Purge(t.Context(), Retention{}); err != nil || got.Artifacts != 1 || there() {
		t.Errorf("not removed when nobody needs it: %+v, %v", got, err)
	}
	if len(s.files.pins) != 0 {
		t.Errorf("pins left: %v", s.files.pins)
	}
}

// during calls do once while a backup writes.
type during struct {
	bytes.Buffer
	do func()
}

func (d *during) Write(p []byte) (int, error) {
	if d.do != nil {
		d.do()
		d.do = nil
	}
	return d.Buffer.Write(p)
}

// A record deleted during a backup is in the backup with its artifact.
func TestBackupKeepsWhatIsDeletedMeanwhile(t *testing.T) {
	s := openHere(t, Config{})
	rec := accepted(t, s, "a")
	rec.Status = job.Failed
	if err := s.Finish(t.Context(), rec, []job.Artifact{{Name: "a", Data: []byte("in the backup")}}); err != nil {
		t.Fatal(err)
	}
	to := &during{do: func() {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if _, err := s.Purge(t.Context(), Retention{}); err != nil {
			t.Error(err)
		}
	}}
	if err := s.WriteBackup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(to.Bytes(), []byte("in the backup")) || to.do != nil {
		t.Error("the artifact is not in the backup")
	}
	if got, err := s.Purge(t.Context(), Retention{}); err != nil || got.Artifacts != 1 {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

// Save's pending data is limited by number and by bytes. A single item of any size is accepted.
func TestSaveIsBounded(t *testing.T) {
	s := openHere(t, Config{SaveBuffer: 1000})
	release := occupy(t, s)
	saved := func(id string, n int) {
		s.Save(&job.Record{ID: id, Caller: "uid:1", Status: job.Succeeded, Stdout: strings.Repeat("x", n)}, nil, nil)
	}
	saved("large", 5000) // accepted because nothing else is pending
	saved("second", 1)
	saved("large", 1)
	if n := s.Stats().Dropped; n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}
	release()
	if _, err := s.Get(t.Context(), "large"); err != nil {
		t.Error(err)
	}
	release = occupy(t, s)
	for i := range maxSaves + 10 {
		saved(fmt.Sprint("n", i), 0)
	}
	if n := s.Stats().Dropped; n != 12 {
		t.Errorf("%d dropped, want 12", n)
	}
	release()
	if _, _, err := s.List(t.Context(), job.Filter{Caller: "uid:1", Limit: 1}); err != nil {
		t.Error(err)
	}
	if n := s.Stats().Saves; n != maxSaves+1 {
		t.Errorf("%d saved, want %d", n, maxSaves+1)
	}
	if s.saves.bytes != 0 || len(s.saves.pending) != 0 {
		t.Errorf("left waiting: %d bytes, %d records", s.saves.bytes, len(s.saves.pending))
	}
}

// Every field of job.Record and job.Request must be stored. The test fails for a new field that is
// not.
func TestEveryFieldIsKept(t *testing.T) {
	s := openHere(t, Config{})
	var rec job.Record
	var req job.Request
	fill(t, reflect.ValueOf(&rec).Elem(), "Record")
	fill(t, reflect.ValueOf(&req).Elem(), "Request")
	rec.Status, rec.Async = job.Failed, true
	rec.Artifacts = nil
	if err := s.write(t.Context(), true, func(tx *tx) error {
		_, err := insertRecord(tx, &rec, &req)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, &rec) {
		t.Errorf("record:\n got %+v\nwant %+v", got, &rec)
	}
	asked, err := s.Request(t.Context(), rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(asked, &req) {
		t.Errorf("request:\n got %+v\nwant %+v", asked, &req)
	}
}

// fill sets every field in v to a non-zero value.
func fill(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1_700_000_000, int64(len(path))).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(path)))
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), path)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(`{"a":1}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), path+"[0]")
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(t, value, path)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("name").Convert(v.Type().Key()), value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("%s is a %s", path, v.Kind())
	}
}

// Every listing walks an index in order of time. None scans a whole table or sorts more than the
// records of a single moment.
func TestListingsWalkAnIndex(t *testing.T) {
	s := openHere(t, Config{})
	seen := 0
	for _, caller := range []string{"", "uid:1"} {
		for _, status := range []string{"", "failed"} {
			for _, kind := range []string{"", "default"} {
				for _, names := range [][]string{nil, {"a"}, {"a", "b"}} {
					for lead := byRecords; lead < len(names); lead++ {
						f := job.Filter{Caller: caller, Status: status, JobType: kind,
							Metadata: map[string]string{"a": "1", "b": "2"}}
						query, args := listing(f, names, lead, 100, 0)
						rows, err := s.lists.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
						if err != nil {
							t.Fatal(err)
						}
						for rows.Next() {
							var id, parent, unused int
							var detail string
							if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
								t.Fatal(err)
							}
							if strings.HasPrefix(detail, "SCAN") ||
								strings.Contains(detail, "USE TEMP B-TREE FOR ORDER BY") {
								t.Errorf("%+v by %v, lead %d: %s", f, names, lead, detail)
							}
							seen++
						}
						if err := rows.Close(); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Fatal("no plan seen")
	}
}

// Pages that a purge frees return to the file system.
func TestPurgeShrinksTheFile(t *testing.T) {
	s := openHere(t, Config{})
	for i := range 20 {
		s.Save(&job.Record{ID: fmt.Sprint("job-", i), Caller: "uid:1", Status: job.Succeeded,
			Stdout: strings.Repeat("x", 1<<20)}, nil, nil)
	}
	size := func() int64 {
		if _, _, err := s.List(t.Context(), job.Filter{Limit: 1}); err != nil {
			t.Fatal(err)
		}
		if err := s.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(s.file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if n := size(); n < 20<<20 {
		t.Fatalf("the database has %d bytes before", n)
	}
	if _, err := s.Purge(t.Context(), Retention{TotalBytes: 2 << 20}); err != nil {
		t.Fatal(err)
	}
	if n := size(); n > 8<<20 {
		t.Errorf("the database has %d bytes after 19 of 20 MiB are purged", n)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A listing walks its sparsest condition.
func TestListingLeadsWithTheRarest(t *testing.T) {
	s := openHere(t, Config{})
	if err := s.write(t.Context(), false, func(tx *tx) error {
		for i := range 700 {
			rec := &job.Record{ID: fmt.Sprint("job-", i), Caller: "uid:1", JobType: "default", Status: job.Succeeded,
				CreatedAt: time.Unix(int64(i), 0),
				EndedAt:   time.Unix(int64(i), 0), Metadata: map[string]string{"all": "yes"}}
			if i%2 == 0 {
				rec.Metadata["half"] = "yes"
			}
			if i%10 == 0 {
				rec.Status = job.Failed
			}
			if _, err := insertRecord(tx, rec, nil); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status string
		names  []string
		want   int
	}{
		{"", nil, byRecords},
		{"", []string{"all"}, 0},
		{"", []string{"all", "half"}, 1},
		{"", []string{"half", "all"}, 0},
		{"succeeded", []string{"all", "half"}, 1},
		{"failed", []string{"all", "half"}, byRecords},
		{"failed", []string{"all", "none"}, byRecords}, // short enough to stop estimating
		{"succeeded", []string{"all", "none"}, 1},
	} {
		f := job.Filter{Caller: "uid:1", Status: c.status,
			Metadata: map[string]string{"all": "yes", "half": "yes", "none": "yes"}}
		got, err := s.lead(t.Context(), f, c.names)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("%q with labels %v leads with %d, want %d", c.status, c.names, got, c.want)
		}
	}
}
