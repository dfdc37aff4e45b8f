package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func acceptedComesBack(t *testing.T, f *fixture) {
	rec := f.record("uid:1")
	rec.Metadata = map[string]string{"env": "prod", "": "empty name", "quote'": `"; --`}
	rec.InputArtifacts = []job.ArtifactRef{{Name: "_code.py", Size: 3, SHA256: strings.Repeat("a", 64), ContentType: "text/x-python"}}
	f.accept(rec)
	same(t, "record", f.get(rec.ID), rec)
	req, err := f.store.Request(t.Context(), rec.ID)
	ok(t, err)
	same(t, "request", req, request())

	_, err = f.store.Get(t.Context(), "nobody")
	wants(t, err, job.ErrNotFound)
	_, err = f.store.Request(t.Context(), "nobody")
	wants(t, err, job.ErrNotFound)

	if existing, err := f.store.Accept(t.Context(), rec, request()); err == nil || existing != nil {
		t.Errorf("an id accepted twice: %v, %v", existing, err)
	}
	running := f.record("uid:1")
	running.Status = job.Running
	_, err = f.store.Accept(t.Context(), running, request())
	wants(t, err, job.ErrTransition)
}

func idempotency(t *testing.T, f *fixture) {
	first := f.record("uid:1")
	first.IdempotencyKey, first.Fingerprint = "key-0001", "f1"
	f.accept(first)
	again := func(caller, fingerprint string) (*job.Record, string, error) {
		r := f.record(caller)
		r.IdempotencyKey, r.Fingerprint = "key-0001", fingerprint
		existing, err := f.store.Accept(t.Context(), r, request())
		return existing, r.ID, err
	}

	existing, id, err := again("uid:1", "f1")
	ok(t, err)
	if existing == nil || existing.ID != first.ID || existing.Status != job.Queued {
		t.Errorf("the same key: %+v, want %s", existing, first.ID)
	}
	_, err = f.store.Get(t.Context(), id)
	wants(t, err, job.ErrNotFound)

	_, _, err = again("uid:1", "f2")
	wants(t, err, job.ErrFingerprint)

	existing, _, err = again("uid:2", "f2") // keys are per caller
	ok(t, err)
	if existing != nil {
		t.Errorf("another caller's key: %+v", existing)
	}

	known, err := f.store.ByKey(t.Context(), "uid:1", "key-0001")
	ok(t, err)
	if known.ID != first.ID || known.Fingerprint != "f1" {
		t.Errorf("by key: %+v, want %s", known, first.ID)
	}
	_, err = f.store.ByKey(t.Context(), "uid:3", "key-0001")
	wants(t, err, job.ErrNotFound)

	f.begin(first.ID)
	if existing, _, _ = again("uid:1", "f1"); existing == nil || existing.Status != job.Running {
		t.Errorf("existing while it runs: %+v", existing)
	}
	done := *first
	done.Status = job.Failed
	ok(t, f.store.Finish(t.Context(), &done, nil))
	if existing, _, _ = again("uid:1", "f1"); existing == nil || existing.Status != job.Failed {
		t.Errorf("existing after its end: %+v", existing)
	}
	ok(t, f.store.Delete(t.Context(), first.ID))
	existing, _, err = again("uid:1", "f2")
	ok(t, err)
	if existing != nil {
		t.Errorf("the key of a deleted record is not free: %+v", existing)
	}

	without := f.record("uid:3") // a record without a fingerprint matches any
	without.IdempotencyKey = "key-0001"
	f.accept(without)
	if existing, _, err = again("uid:3", "f9"); err != nil || existing == nil || existing.ID != without.ID {
		t.Errorf("a key without a fingerprint: %+v, %v", existing, err)
	}
}

// Of those that come at once with one key, one makes the record and the others get it: also inside
// one group of writes.
func idempotencyRace(t *testing.T, f *fixture) {
	const n = 32
	records := make([]*job.Record, n)
	existing := make([]*job.Record, n)
	failed := make([]error, n)
	for i := range records {
		records[i] = f.record("uid:1")
		records[i].IdempotencyKey, records[i].Fingerprint = "raced-key", fmt.Sprint("f", i%2)
	}
	together(n, func(i int) { existing[i], failed[i] = f.store.Accept(t.Context(), records[i], request()) })
	winner := ""
	for i := range n {
		if existing[i] == nil && failed[i] == nil {
			if winner != "" {
				t.Errorf("both %s and %s were made", winner, records[i].ID)
			}
			winner = records[i].ID
		}
	}
	if winner == "" {
		t.Fatal("nobody made the record")
	}
	for i := range n {
		won := f.get(winner).Fingerprint == records[i].Fingerprint
		switch {
		case records[i].ID == winner:
		case won && (failed[i] != nil || existing[i].ID != winner):
			t.Errorf("submitter %d got %+v, %v", i, existing[i], failed[i])
		case !won && !errors.Is(failed[i], job.ErrFingerprint):
			t.Errorf("submitter %d of another payload: %v", i, failed[i])
		}
	}
	if ids, _ := f.ids(job.Filter{}); len(ids) != 1 {
		t.Errorf("records: %v, want one", ids)
	}
}

func transitions(t *testing.T, f *fixture) {
	rec := f.accept(f.record("uid:1"))
	ok(t, f.store.Begin(t.Context(), rec.ID, 1, "worker-7", f.now().Add(time.Minute)))
	got := f.get(rec.ID)
	if got.Status != job.Running || got.Attempt != 1 || got.WorkerID != "worker-7" || got.DequeuedAt.IsZero() {
		t.Errorf("begun: %+v", got)
	}
	dequeued := got.DequeuedAt
	wants(t, f.store.Begin(t.Context(), rec.ID, 1, "worker-8", f.now()), job.ErrTransition)
	ok(t, f.store.Renew(t.Context(), "worker-7", f.now().Add(time.Hour)))
	ok(t, f.store.Renew(t.Context(), "nobody", f.now()))
	ok(t, f.store.Requeue(t.Context(), rec.ID))
	if got = f.get(rec.ID); got.Status != job.Queued || got.WorkerID != "" || got.Attempt != 1 {
		t.Errorf("requeued: %+v", got)
	}
	wants(t, f.store.Requeue(t.Context(), rec.ID), job.ErrTransition)
	ok(t, f.store.Begin(t.Context(), rec.ID, 2, "worker-8", f.now()))
	if got = f.get(rec.ID); !got.DequeuedAt.Equal(dequeued) {
		t.Errorf("dequeued_at moved from %v to %v", dequeued, got.DequeuedAt)
	}

	code, ms := 0, int64(12)
	done := *rec
	done.Status, done.ExitCode, done.DurationMS = job.Succeeded, &code, &ms
	done.Stdout, done.Stderr, done.StdoutTruncated = "out\x00<&>\n", "err", true
	done.Output = json.RawMessage(`{"n": 1.0}`)
	done.StartedAt, done.EndedAt = f.now(), f.now()
	ok(t, f.store.Finish(t.Context(), &done, []job.Artifact{artifact("a.txt", "A"), artifact("b.txt", "B")}))
	got = f.get(rec.ID)
	same(t, "finished record", got, &done)
	same(t, "artifacts", got.Artifacts, []job.ArtifactRef{
		{Name: "a.txt", Size: 1, SHA256: artifact("", "A").SHA256}, {Name: "b.txt", Size: 1, SHA256: artifact("", "B").SHA256}})
	if got.Attempt != 2 || got.WorkerID != "worker-8" || got.Output == nil {
		t.Errorf("finished: %+v", got)
	}

	wants(t, f.store.Begin(t.Context(), "nobody", 0, "w", f.now()), job.ErrNotFound)
	wants(t, f.store.Requeue(t.Context(), "nobody"), job.ErrNotFound)
	missing := *rec
	missing.ID, missing.Status = "nobody", job.Failed
	wants(t, f.store.Finish(t.Context(), &missing, nil), job.ErrNotFound)
}

func terminalStays(t *testing.T, f *fixture) {
	rec := f.finished("uid:1", 3, artifact("a", "kept"))
	before := f.get(rec.ID)
	for _, status := range []job.Status{job.Succeeded, job.Failed, job.Timeout, job.OOM, job.Cancelled} {
		late := *rec
		late.Status, late.Stdout = status, "late"
		wants(t, f.store.Finish(t.Context(), &late, []job.Artifact{artifact("late", "late bytes")}), job.ErrTerminal)
	}
	wants(t, f.store.Begin(t.Context(), rec.ID, 1, "w", f.now()), job.ErrTerminal)
	wants(t, f.store.Requeue(t.Context(), rec.ID), job.ErrTerminal)
	late := *rec
	late.Stdout = "late"
	f.store.Save(&late, request(), nil)
	same(t, "record", f.get(rec.ID), before)
	if _, err := f.bytesOf(artifact("", "late bytes").SHA256); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the artifact of a refused result is kept: %v", err)
	}

	// Of results that come at once, one is kept.
	raced := f.accept(f.record("uid:1"))
	f.begin(raced.ID)
	var won atomic.Int64
	together(8, func(i int) {
		r := *raced
		r.Status = []job.Status{job.Succeeded, job.Cancelled}[i%2]
		r.Stdout = fmt.Sprint(i)
		switch err := f.store.Finish(t.Context(), &r, []job.Artifact{artifact("x", fmt.Sprint("race ", i))}); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, job.ErrTerminal):
			t.Errorf("finish: %v", err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d results were kept, want 1", won.Load())
	}
}

func firstStays(t *testing.T, f *fixture) {
	first := f.record("uid:1")
	first.IdempotencyKey, first.Fingerprint, first.InputHash = "key-0001", "f", "1n"
	first.ParentID, first.Relationship, first.Metadata = "parent", job.Rerun, map[string]string{"a": "b"}
	first.InputArtifacts = []job.ArtifactRef{{Name: "_code.py", SHA256: strings.Repeat("0", 64)}}
	f.accept(first)
	f.begin(first.ID)
	ok(t, f.store.Finish(t.Context(), &job.Record{
		ID: first.ID, Status: job.Failed, Caller: "uid:2", CreatedAt: f.now(), IdempotencyKey: "other-key", Fingerprint: "g",
		CodeHash: "x", InputHash: "x", ClientIP: "x", CorrelationID: "x", ParentID: "x", Relationship: job.Fork, Metadata: map[string]string{"c": "d"},
	}, nil))
	got := f.get(first.ID)
	want := *first
	want.Status, want.EndedAt, want.DequeuedAt, want.WorkerID = job.Failed, got.EndedAt, got.DequeuedAt, "worker-1"
	same(t, "record", got, &want)
	if got.EndedAt.IsZero() {
		t.Error("ended_at is not filled")
	}
	if ids, _ := f.ids(job.Filter{Metadata: map[string]string{"a": "b"}, Caller: "uid:1", Status: "failed"}); len(ids) != 1 {
		t.Errorf("by the first label: %v", ids)
	}
}

func refusedTransitions(t *testing.T, f *fixture) {
	for _, status := range []job.Status{job.Queued, job.Running, job.Pending, "", "nonsense"} {
		rec := f.accept(f.record("uid:1"))
		bad := *rec
		bad.Status = status
		wants(t, f.store.Finish(t.Context(), &bad, nil), job.ErrTransition)
		same(t, "record", f.get(rec.ID), rec)
	}
	for _, status := range []job.Status{job.Succeeded, job.Timeout, job.OOM} { // out of queued: no
		rec := f.accept(f.record("uid:1"))
		bad := *rec
		bad.Status = status
		wants(t, f.store.Finish(t.Context(), &bad, nil), job.ErrTransition)
	}
	for _, status := range []job.Status{job.Cancelled, job.Failed} { // out of queued: yes
		rec := f.accept(f.record("uid:1"))
		rec.Status = status
		ok(t, f.store.Finish(t.Context(), rec, nil))
	}
}

func queuedAndRunning(t *testing.T, f *fixture) {
	var queued, running []string
	for i := range 12 {
		rec := f.accept(f.record(fmt.Sprint("uid:", i%3)))
		switch i % 3 {
		case 0:
			queued = append(queued, rec.ID)
		case 1:
			f.begin(rec.ID)
			running = append(running, rec.ID)
		default:
			rec.Status = job.Cancelled
			ok(t, f.store.Finish(t.Context(), rec, nil))
		}
	}
	for _, c := range []struct {
		list func(context.Context) ([]job.Record, error)
		want []string
	}{{f.store.Queued, queued}, {f.store.Running, running}} {
		records, err := c.list(t.Context())
		ok(t, err)
		var got []string
		for _, r := range records {
			got = append(got, r.ID)
			if r.Caller == "" || r.JobRef == "" {
				t.Errorf("slim record lacks what the scheduler needs: %+v", r)
			}
		}
		same(t, "oldest first", got, c.want)
	}
}

func sharedCommits(t *testing.T, f *fixture) {
	const submitters, each = 200, 3
	accepts, commits := f.impl.Counts(f.store)
	var failed atomic.Int64
	together(submitters, func(i int) {
		for range each {
			if _, err := f.store.Accept(context.Background(), f.record(fmt.Sprint("uid:", i%7)), request()); err != nil {
				failed.Add(1)
			}
		}
	})
	a, c := f.impl.Counts(f.store)
	accepts, commits = a-accepts, c-commits
	if failed.Load() != 0 || accepts != submitters*each {
		t.Errorf("%d accepts, %d failed; want %d", accepts, failed.Load(), submitters*each)
	}
	t.Logf("%d accepts in %d commits", accepts, commits)
	if commits >= accepts {
		t.Errorf("%d accepts took %d commits: they do not share", accepts, commits)
	}
	queued, err := f.store.Queued(t.Context())
	ok(t, err)
	if len(queued) != submitters*each {
		t.Errorf("%d queued, want %d", len(queued), submitters*each)
	}
}

func saved(t *testing.T, f *fixture) {
	rec := f.record("uid:1")
	rec.ID, rec.Async, rec.Status, rec.Stdout, rec.IdempotencyKey = "api-1", false, job.Succeeded, "hello", "key-0001"
	rec.EndedAt, rec.Metadata = f.now(), map[string]string{"a": "b"}
	f.store.Save(rec, request(), []job.Artifact{artifact("a", "saved")})
	if len(rec.Artifacts) != 1 {
		t.Errorf("artifacts of the record: %v", rec.Artifacts)
	}
	same(t, "record", f.get("api-1"), rec) // at once
	if data, err := f.bytesOf(rec.Artifacts[0].SHA256); data != "saved" || err != nil {
		t.Errorf("artifact: %q, %v", data, err)
	}
	if req, err := f.store.Request(t.Context(), "api-1"); err != nil || req.Code != request().Code {
		t.Errorf("request: %v, %v", req, err)
	}
	keyed := f.record("uid:1") // the key of a synchronous run bars nobody
	keyed.IdempotencyKey = "key-0001"
	f.accept(keyed)

	unasked := f.record("uid:1")
	unasked.ID, unasked.Status = "api-2", job.Failed
	f.store.Save(unasked, nil, nil)
	if f.get("api-2").EndedAt.IsZero() {
		t.Error("ended_at is not filled")
	}
	_, err := f.store.Request(t.Context(), "api-2")
	wants(t, err, job.ErrNotFound)

	running := f.record("uid:1")
	running.ID, running.Status = "api-3", job.Running
	f.store.Save(running, nil, nil) // refused: only what has ended
	_, err = f.store.Get(t.Context(), "api-3")
	wants(t, err, job.ErrNotFound)
}

func manySaves(t *testing.T, f *fixture) {
	for i := range 20 { // listed at once
		rec := f.record("uid:2")
		rec.Async, rec.Status = false, job.Failed
		f.store.Save(rec, request(), []job.Artifact{artifact("a", fmt.Sprint("listed ", i))})
		if ids, _ := f.ids(job.Filter{Caller: "uid:2"}); len(ids) != i+1 {
			t.Errorf("%d records listed after %d saves", len(ids), i+1)
		}
	}
	const n = 60
	together(n, func(i int) {
		rec := f.record("uid:1")
		rec.Async, rec.Status = false, job.Succeeded
		f.store.Save(rec, request(), []job.Artifact{artifact("a", fmt.Sprint("many ", i%5)), artifact("b", fmt.Sprint("many ", i%5))})
		if got, err := f.store.Get(context.Background(), rec.ID); err != nil || got.Status != job.Succeeded {
			t.Errorf("after save %d: %v, %v", i, got, err)
		}
	})
	if ids, _ := f.ids(job.Filter{Caller: "uid:1"}); len(ids) != n {
		t.Errorf("%d records, want %d", len(ids), n)
	}
}

func reopening(t *testing.T, f *fixture) {
	queued := f.accept(f.record("uid:1"))
	running := f.accept(f.record("uid:1"))
	f.begin(running.ID)
	done := f.finished("uid:1", 10, artifact("a", "reopened"))
	late := f.record("uid:1")
	late.Async, late.Status = false, job.Succeeded
	f.store.Save(late, nil, nil)
	ok(t, f.store.Sync(t.Context()))
	ok(t, f.store.Close())
	ok(t, f.store.Close())
	f.open()
	for id, status := range map[string]job.Status{queued.ID: job.Queued, running.ID: job.Running, done.ID: job.Succeeded, late.ID: job.Succeeded} {
		if got := f.get(id); got.Status != status {
			t.Errorf("%s: %s, want %s", id, got.Status, status)
		}
	}
	if data, err := f.bytesOf(done.Artifacts[0].SHA256); data != "reopened" || err != nil {
		t.Errorf("artifact: %q, %v", data, err)
	}
	if second, err := f.impl.Open(f.dir, f.now); err == nil {
		t.Error("the store could be opened twice")
		ok(t, second.Close())
	}
}

func afterClose(t *testing.T, f *fixture) {
	rec := f.accept(f.record("uid:1"))
	ok(t, f.store.Close())
	if _, err := f.store.Accept(t.Context(), f.record("uid:1"), request()); err == nil {
		t.Error("accept after close")
	}
	if err := f.store.Begin(t.Context(), rec.ID, 0, "w", f.now()); err == nil {
		t.Error("begin after close")
	}
	if _, err := f.store.Get(t.Context(), rec.ID); err == nil {
		t.Error("get after close")
	}
	late := f.record("uid:1")
	late.Status = job.Failed
	f.store.Save(late, nil, nil) // lost, and no panic
	f.open()
	if f.get(rec.ID).Status != job.Queued {
		t.Error("begun after close")
	}
}

func endedContext(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	rec := f.record("uid:1")
	if _, err := f.store.Accept(ctx, rec, request()); err != nil { // either it was not taken, or it is there
		wants(t, err, context.Canceled)
		_, err = f.store.Get(t.Context(), rec.ID)
		wants(t, err, job.ErrNotFound)
	} else {
		f.get(rec.ID)
	}
	_, err := f.store.Get(ctx, rec.ID)
	if err == nil {
		t.Error("a read under an ended context")
	}
	f.accept(f.record("uid:1")) // nothing is stuck
}
