package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func artifacts(t *testing.T, f *fixture) {
	big := strings.Repeat("0123456789abcdef", 1<<17)
	rec := f.finished("uid:1", 0, artifact("big", big), artifact("empty", ""), artifact("twin-1", "twin"), artifact("twin-2", "twin"))
	for i, want := range []string{big, "", "twin", "twin"} {
		if got, err := f.bytesOf(rec.Artifacts[i].SHA256); got != want || err != nil {
			t.Errorf("%s: %d bytes, %v", rec.Artifacts[i].Name, len(got), err)
		}
	}
	lied := f.accept(f.record("uid:1"))
	f.begin(lied.ID)
	wrong := artifact("a", "one thing")
	wrong.Data = []byte("another")
	lied.Status = job.Succeeded
	if err := f.store.Finish(t.Context(), lied, []job.Artifact{artifact("good", "good"), wrong}); err == nil {
		t.Error("an artifact under another's digest is kept")
	}
	if f.get(lied.ID).Status != job.Running {
		t.Error("the record of a refused artifact has changed")
	}
	if _, err := f.bytesOf(artifact("", "good").SHA256); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("an artifact of a refused result is kept: %v", err)
	}
	ok(t, f.store.Finish(t.Context(), lied, []job.Artifact{artifact("good", "good")}))
}

func sharedArtifacts(t *testing.T, f *fixture) {
	shared := artifact("x", "shared")
	first, second := f.finished("uid:1", 0, shared), f.finished("uid:2", 0, shared, artifact("y", "shared"))
	ok(t, f.store.Delete(t.Context(), second.ID))
	if got, err := f.bytesOf(shared.SHA256); got != "shared" || err != nil {
		t.Errorf("after one of two records: %q, %v", got, err)
	}
	f.check()
	ok(t, f.store.Delete(t.Context(), first.ID))
	if _, err := f.bytesOf(shared.SHA256); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("after the last record: %v", err)
	}
	f.check()
	f.finished("uid:1", 0, shared) // and again
	if got, err := f.bytesOf(shared.SHA256); got != "shared" || err != nil {
		t.Errorf("stored again: %q, %v", got, err)
	}
}

// While records that share an artifact come and go, it is there for each that is there.
func artifactRace(t *testing.T, f *fixture) {
	const rounds = 15
	shared := artifact("x", "raced")
	together(4, func(i int) {
		for range rounds {
			rec := f.accept(f.record(fmt.Sprint("uid:", i)))
			f.begin(rec.ID)
			rec.Status = job.Succeeded
			if err := f.store.Finish(context.Background(), rec, []job.Artifact{shared}); err != nil {
				t.Errorf("finish: %v", err)
				return
			}
			if got, err := f.bytesOf(shared.SHA256); got != "raced" || err != nil {
				t.Errorf("artifact of a stored record: %q, %v", got, err)
			}
			if err := f.store.Delete(context.Background(), rec.ID); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
	})
	_, err := f.store.Purge(t.Context(), job.Retention{})
	ok(t, err)
	if _, err := f.bytesOf(shared.SHA256); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("after the last record: %v", err)
	}
}

func openHostile(t *testing.T, f *fixture) {
	real := artifact("x", "real")
	f.finished("uid:1", 0, real)
	for _, name := range []string{"", "x", "../../etc/passwd", real.SHA256[:63], real.SHA256 + "0", strings.ToUpper(real.SHA256), strings.Repeat("g", 64),
		"../" + real.SHA256[3:], real.SHA256[:32] + "/" + real.SHA256[33:], strings.Repeat(".", 64), strings.Repeat("0", 64), "a\x00" + real.SHA256[2:]} {
		if name == strings.ToUpper(name) && name == real.SHA256 {
			continue
		}
		_, err := f.store.Open(t.Context(), name)
		wants(t, err, job.ErrNotFound)
	}
}

func bytesOfCallers(t *testing.T, f *fixture) {
	size := func(caller string) int64 {
		t.Helper()
		n, err := f.store.Bytes(t.Context(), caller)
		ok(t, err)
		return n
	}
	if size("uid:1") != 0 || size("") != 0 {
		t.Error("an empty store has bytes")
	}
	big := strings.Repeat("x", 100_000)
	one := f.finished("uid:1", 50_000, artifact("a", big))
	before := size("uid:1")
	if before < 150_000 || before > 155_000 {
		t.Errorf("bytes of 50,000 of stdout and 100,000 of artifact: %d", before)
	}
	f.finished("uid:2", 0, artifact("a", big), artifact("b", big)) // each pays, though the bytes are on disk once
	if n := size("uid:2"); n < 200_000 || n > 205_000 {
		t.Errorf("bytes of two names for 100,000: %d", n)
	}
	if size("uid:1") != before || size("") != before+size("uid:2") {
		t.Errorf("sums: %d, %d, %d", size("uid:1"), size("uid:2"), size(""))
	}
	ok(t, f.store.Delete(t.Context(), one.ID))
	if size("uid:1") != 0 {
		t.Errorf("bytes after the last record: %d", size("uid:1"))
	}
}

func (f *fixture) purge(keep job.Retention) job.PurgeResult {
	f.t.Helper()
	done, err := f.store.Purge(f.t.Context(), keep)
	ok(f.t, err)
	f.check()
	return done
}

func purgeByAge(t *testing.T, f *fixture) {
	old := f.finished("uid:0", 10, artifact("a", "0"))
	for i := range 229 { // more than one step for a caller
		rec := f.record(fmt.Sprint("uid:", i%2))
		rec.Async, rec.Status = false, job.Succeeded
		var files []job.Artifact
		if i < 20 {
			files = append(files, artifact("a", fmt.Sprint(i)))
		}
		f.store.Save(rec, nil, files)
		f.get(rec.ID)
	}
	waiting, running := f.accept(f.record("uid:1")), f.accept(f.record("uid:1"))
	f.begin(running.ID)
	slow := f.accept(f.record("uid:1"))
	f.begin(slow.ID)
	ok(t, f.store.Dead(t.Context(), &job.DeadLetter{JobID: "old", ErrorType: "x"}))
	f.pass(48 * time.Hour)
	slow.Status = job.Succeeded
	ok(t, f.store.Finish(t.Context(), slow, nil)) // accepted long ago, ended now
	young := f.finished("uid:2", 10, artifact("a", "1"))
	ok(t, f.store.Dead(t.Context(), &job.DeadLetter{JobID: "young", ErrorType: "x"}))

	if done := f.purge(job.Retention{}); done != (job.PurgeResult{}) {
		t.Errorf("without limits: %+v", done)
	}
	done := f.purge(job.Retention{Records: 24 * time.Hour, DeadLetters: 24 * time.Hour})
	same(t, "purged", done, job.PurgeResult{Records: 230, DeadLetters: 1, Artifacts: 19})
	ids, _ := f.ids(job.Filter{})
	same(t, "left", ids, []string{young.ID, slow.ID, running.ID, waiting.ID})
	_, err := f.store.Get(t.Context(), old.ID)
	wants(t, err, job.ErrNotFound)
	if letters, _, _ := f.store.DeadLetters(t.Context(), "", "", 10, 0); len(letters) != 1 || letters[0].JobID != "young" {
		t.Errorf("dead letters left: %v", letters)
	}
	if got, err := f.bytesOf(young.Artifacts[0].SHA256); got != "1" || err != nil {
		t.Errorf("an artifact that an old and a young record shared: %q, %v", got, err)
	}
}

func purgeByCaller(t *testing.T, f *fixture) {
	var greedy []string
	for range 10 {
		greedy = append(greedy, f.finished("uid:1", 10_000).ID)
	}
	modest := f.finished("uid:2", 10_000)
	running := f.accept(f.record("uid:1"))
	f.begin(running.ID)
	f.purge(job.Retention{CallerBytes: 45_000})
	ids, _ := f.ids(job.Filter{})
	same(t, "left", ids, []string{running.ID, modest.ID, greedy[9], greedy[8], greedy[7], greedy[6]})
	if n, _ := f.store.Bytes(t.Context(), "uid:1"); n > 45_000 {
		t.Errorf("bytes left: %d", n)
	}
}

func purgeByTotal(t *testing.T, f *fixture) {
	const limit = 100_000
	var quiet []string
	for range 5 {
		quiet = append(quiet, f.finished("uid:quiet", 10_000).ID)
	}
	f.purge(job.Retention{TotalBytes: limit})
	for round := range 3 { // another's flood pushes out its own results only
		for range 10 {
			f.finished("uid:loud", 10_000)
		}
		f.purge(job.Retention{TotalBytes: limit})
		if n, _ := f.store.Bytes(t.Context(), ""); n > limit {
			t.Errorf("round %d: %d bytes left", round, n)
		}
		if ids, _ := f.ids(job.Filter{Caller: "uid:quiet"}); len(ids) != len(quiet) {
			t.Fatalf("round %d: the quiet caller has %d results left of %d", round, len(ids), len(quiet))
		}
		if ids, _ := f.ids(job.Filter{Caller: "uid:loud"}); len(ids) < 3 {
			t.Errorf("round %d: the loud caller has %d results left: more went than had to", round, len(ids))
		}
	}
	// What has not ended cannot go, and nobody pays for it in another's stead.
	for range 6 {
		rec := f.record("uid:queue")
		rec.CodeHash = strings.Repeat("x", 20_000)
		f.accept(rec)
	}
	f.finished("uid:quiet", 10_000) // it pays for its own growth, but for a record, and not for more
	for range 2 {
		f.purge(job.Retention{TotalBytes: limit})
	}
	if ids, _ := f.ids(job.Filter{Caller: "uid:quiet"}); len(ids) < len(quiet)-1 {
		t.Errorf("the quiet caller pays for a queue: %d results left", len(ids))
	}
	// A limit that an operator lowered is reached, from the largest down.
	queued, err := f.store.Queued(t.Context())
	ok(t, err)
	for _, r := range queued {
		r.Status = job.Cancelled
		ok(t, f.store.Finish(t.Context(), &r, nil))
	}
	f.purge(job.Retention{TotalBytes: limit})
	f.purge(job.Retention{TotalBytes: 15_000})
	if n, _ := f.store.Bytes(t.Context(), ""); n > 15_000 {
		t.Errorf("after a lower limit: %d", n)
	}
}

// A backup made while others write is whole: every record in it with its artifacts.
func backup(t *testing.T, f *fixture) {
	first := f.finished("uid:1", 100, artifact("a", "in the backup"))
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 3 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				rec := f.finished("uid:2", 100, artifact("a", fmt.Sprint(i, n)))
				if err := f.store.Delete(context.Background(), rec.ID); err != nil && n%2 == 0 {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	path := filepath.Join(t.TempDir(), "backup.tar")
	ok(t, os.WriteFile(path, []byte("an older backup"), 0o600))
	err := f.store.Backup(t.Context(), path)
	stop()
	writers.Wait()
	ok(t, err)
	ok(t, f.store.Delete(t.Context(), first.ID))
	info, err := os.Stat(path)
	ok(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the backup: %v", info.Mode())
	}
	if beside, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(beside) != 1 {
		t.Errorf("left beside the backup: %v", beside)
	}

	restored := &fixture{t: t, impl: f.impl, dir: filepath.Join(t.TempDir(), "restored")}
	restored.clock.Store(f.clock.Load())
	restored.made.Store(1 << 20)
	ok(t, os.Mkdir(restored.dir, 0o700))
	ok(t, f.impl.Restore(path, restored.dir))
	restored.open()
	defer func() { ok(t, restored.store.Close()) }()
	restored.check()
	got := restored.get(first.ID)
	if data, err := restored.bytesOf(got.Artifacts[0].SHA256); data != "in the backup" || err != nil {
		t.Errorf("restored artifact: %q, %v", data, err)
	}
	restored.finished("uid:1", 1)

	if err := f.store.Backup(t.Context(), filepath.Join(t.TempDir(), "missing", "x.tar")); err == nil {
		t.Error("a backup into no folder")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.store.Backup(ended, filepath.Join(filepath.Dir(path), "other.tar")); err == nil {
		t.Error("a backup under an ended context")
	}
	if beside, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(beside) != 1 {
		t.Errorf("left beside the backup: %v", beside)
	}
}
