package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func listingOrder(t *testing.T, f *fixture) {
	var all []*job.Record
	for i := range 37 {
		rec := f.record("uid:1")
		if i%3 != 0 { // most share their time with others
			rec.CreatedAt = time.Date(2026, 2, 1+i%4, 0, 0, 0, 0, time.UTC)
		}
		all = append(all, f.accept(rec))
	}
	slices.SortFunc(all, func(a, b *job.Record) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID)) })
	for _, limit := range []int{1, 5, 36, 37, 38, 1000} {
		var got, want []string
		for offset, more := 0, true; more; offset += limit {
			ids, m := f.ids(job.Filter{Caller: "uid:1", Limit: limit, Offset: offset})
			if more = m; more && len(ids) != limit {
				t.Fatalf("limit %d: page of %d and more", limit, len(ids))
			}
			got = append(got, ids...)
		}
		for _, r := range all {
			want = append(want, r.ID)
		}
		same(t, fmt.Sprint("pages of ", limit), got, want)
	}
	if ids, more := f.ids(job.Filter{Limit: 5, Offset: 1 << 40}); len(ids) != 0 || more {
		t.Errorf("far behind the end: %v, %v", ids, more)
	}
}

func listingFilters(t *testing.T, f *fixture) {
	var all []*job.Record
	for i := range 120 {
		rec := f.record(fmt.Sprint("uid:", i%3))
		rec.JobType = []string{"default", "etl", "etl-2"}[i/3%3]
		rec.Metadata = map[string]string{"env": []string{"prod", "test"}[i/9%2], "n": fmt.Sprint(i % 4)}
		if i%5 == 0 {
			rec.Metadata = nil
		}
		f.accept(rec)
		switch i / 18 % 3 {
		case 1:
			f.begin(rec.ID)
			rec.Status = job.Running
		case 2:
			rec.Status = job.Cancelled
			ok(t, f.store.Finish(t.Context(), rec, nil))
		}
		all = append(all, rec)
	}
	slices.Reverse(all)
	for _, caller := range []string{"", "uid:0", "uid:9"} {
		for _, status := range []string{"", "queued", "cancelled", "pending"} {
			for _, kind := range []string{"", "etl", "et_"} {
				for _, labels := range []map[string]string{nil, {"env": "prod"}, {"env": "prod", "n": "2"}, {"n": "9"}, {"env": ""}} {
					filter := job.Filter{Caller: caller, Status: status, JobType: kind, Metadata: labels}
					var want []string
					for _, r := range all {
						if (caller == "" || r.Caller == caller) && (status == "" || string(r.Status) == status) && (kind == "" || r.JobType == kind) &&
							has(r.Metadata, labels) {
							want = append(want, r.ID)
						}
					}
					got, more := f.ids(filter)
					same(t, fmt.Sprintf("%+v", filter), got, want)
					if more {
						t.Errorf("%+v: more", filter)
					}
					if len(want) > 3 {
						filter.Limit, filter.Offset = 2, 1
						got, more = f.ids(filter)
						same(t, fmt.Sprintf("%+v", filter), got, want[1:3])
						if !more {
							t.Errorf("%+v: no more", filter)
						}
					}
				}
			}
		}
	}
}

func has(labels, wanted map[string]string) bool {
	for name, value := range maps.All(wanted) {
		if v, there := labels[name]; !there || v != value {
			return false
		}
	}
	return true
}

// attack G07: words are compared, never run.
func listingHostile(t *testing.T, f *fixture) {
	f.accept(f.record("uid:1"))
	for _, word := range []string{`' OR 1=1 --`, `"`, `)`, `%`, `_`, `*`, `queued' --`, `queued"`, "queued\x00", "\xff", `?`, `?1`, `:a`, `$a`, `@a`, ` queued`, `QUEUED`} {
		for _, filter := range []job.Filter{{Status: word}, {JobType: word}, {Caller: word}, {Metadata: map[string]string{word: word}},
			{Metadata: map[string]string{word: word, "a": word}}} {
			if ids, more := f.ids(filter); len(ids) != 0 || more {
				t.Errorf("%+v matches %v", filter, ids)
			}
		}
		_, err := f.store.Get(t.Context(), word)
		wants(t, err, job.ErrNotFound)
		wants(t, f.store.Delete(t.Context(), word), job.ErrNotFound)
	}
	for _, word := range []string{`' OR 1=1 --`, `"`, "a\x00b", `%`, "é\u2028"} { // and kept to the letter
		rec := f.record(word)
		rec.JobType, rec.Metadata = word, map[string]string{word: word}
		f.accept(rec)
		for _, filter := range []job.Filter{{Caller: word}, {JobType: word}, {Metadata: map[string]string{word: word}}} {
			if ids, _ := f.ids(filter); len(ids) != 1 || ids[0] != rec.ID {
				t.Errorf("%+v gives %v", filter, ids)
			}
		}
	}
}

func deleting(t *testing.T, f *fixture) {
	wants(t, f.store.Delete(t.Context(), "nobody"), job.ErrNotFound)
	rec := f.record("uid:1")
	rec.Metadata = map[string]string{"a": "b"}
	f.accept(rec)
	wants(t, f.store.Delete(t.Context(), rec.ID), job.ErrNotTerminal)
	f.begin(rec.ID)
	wants(t, f.store.Delete(t.Context(), rec.ID), job.ErrNotTerminal)
	rec.Status, rec.Stdout = job.Failed, "text"
	ok(t, f.store.Finish(t.Context(), rec, []job.Artifact{artifact("a", "deleted")}))
	ok(t, f.store.Delete(t.Context(), rec.ID))
	wants(t, f.store.Delete(t.Context(), rec.ID), job.ErrNotFound)
	_, err := f.store.Get(t.Context(), rec.ID)
	wants(t, err, job.ErrNotFound)
	_, err = f.store.Request(t.Context(), rec.ID)
	wants(t, err, job.ErrNotFound)
	_, err = f.store.Open(t.Context(), rec.Artifacts[0].SHA256)
	wants(t, err, job.ErrNotFound)
	if ids, _ := f.ids(job.Filter{Metadata: map[string]string{"a": "b"}}); len(ids) != 0 {
		t.Errorf("label of a deleted record: %v", ids)
	}
	if n, err := f.store.Bytes(t.Context(), "uid:1"); n != 0 || err != nil {
		t.Errorf("bytes after the last record: %d, %v", n, err)
	}
	f.accept(rec2(rec)) // the id is free, too
}

func rec2(old *job.Record) *job.Record {
	return &job.Record{ID: old.ID, Caller: old.Caller, Status: job.Queued, JobType: old.JobType, Async: true}
}

func deadLetters(t *testing.T, f *fixture) {
	var ids []int64
	for i := range 10 {
		d := &job.DeadLetter{JobID: fmt.Sprint("job-", i), Caller: fmt.Sprint("uid:", i%2), Summary: []byte(`{"code_hash":"<x>"}`), ErrorType: []string{"a", "b", "c'"}[i%3],
			ErrorMessage: "message", RetryCount: i, CreatedAt: f.now(), ClientIP: "ip", CorrelationID: "corr"}
		ok(t, f.store.Dead(t.Context(), d))
		ids = append(ids, d.ID)
		got, _, err := f.store.DeadLetters(t.Context(), "", "", 1, 0)
		ok(t, err)
		same(t, "entry", &got[0], d)
	}
	for _, c := range []struct {
		caller, kind  string
		limit, offset int
		want          []int64
		more          bool
	}{
		{"", "", 3, 0, []int64{ids[9], ids[8], ids[7]}, true},
		{"", "", 3, 9, []int64{ids[0]}, false},
		{"", "c'", 10, 0, []int64{ids[8], ids[5], ids[2]}, false},
		{"uid:1", "", 2, 1, []int64{ids[7], ids[5]}, true},
		{"uid:1", "a", 10, 0, []int64{ids[9], ids[3]}, false},
		{"uid:1", "none", 10, 0, nil, false},
	} {
		page, more, err := f.store.DeadLetters(t.Context(), c.caller, c.kind, c.limit, c.offset)
		ok(t, err)
		var got []int64
		for _, d := range page {
			got = append(got, d.ID)
		}
		same(t, fmt.Sprintf("%+v", c), got, c.want)
		if more != c.more {
			t.Errorf("%+v: more = %v", c, more)
		}
	}
	total, byType, err := f.store.DeadStats(t.Context())
	ok(t, err)
	if total != 10 || byType["a"] != 4 || byType["b"] != 3 || byType["c'"] != 3 {
		t.Errorf("stats: %d, %v", total, byType)
	}
	ok(t, f.store.RemoveDead(t.Context(), ids[4]))
	wants(t, f.store.RemoveDead(t.Context(), ids[4]), job.ErrNotFound)
	ok(t, f.store.RemoveDead(t.Context(), ids[9]))
	again := &job.DeadLetter{JobID: "x", ErrorType: "a"}
	ok(t, f.store.Dead(t.Context(), again))
	if again.ID <= ids[9] || again.CreatedAt.IsZero() {
		t.Errorf("entry after a removal: %+v; an id must not come twice", again)
	}
}
