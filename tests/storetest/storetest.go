package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Store is all that scheduler, api and daemon use of a store.
type Store interface {
	Accept(context.Context, *job.Record, *job.Request) (*job.Record, error)
	Queued(context.Context) ([]job.Record, error)
	Running(context.Context) ([]job.Record, error)
	Request(context.Context, string) (*job.Request, error)
	Begin(ctx context.Context, id string, attempt int, worker string, lease time.Time) error
	Renew(ctx context.Context, worker string, until time.Time) error
	Requeue(context.Context, string) error
	Finish(context.Context, *job.Record, []job.Artifact) error
	Save(*job.Record, *job.Request, []job.Artifact)
	Get(context.Context, string) (*job.Record, error)
	ByKey(ctx context.Context, caller, key string) (*job.Record, error)
	List(context.Context, job.Filter) ([]job.Record, bool, error)
	Delete(context.Context, string) error
	Open(context.Context, string) (*os.File, error)
	Dead(context.Context, *job.DeadLetter) error
	DeadLetters(ctx context.Context, caller, errorType string, limit, offset int) ([]job.DeadLetter, bool, error)
	DeadStats(context.Context) (int, map[string]int, error)
	RemoveDead(context.Context, int64) error
	Bytes(context.Context, string) (int64, error)
	Purge(context.Context, job.Retention) (job.PurgeResult, error)
	Backup(context.Context, string) error
	Check(context.Context) error
	Sync(context.Context) error
	Close() error
}

// Implementation is what Run tests.
type Implementation struct {
	// Open opens the store that belongs to dir, an empty folder at first.
	Open func(dir string, now func() time.Time) (Store, error)
	// Counts returns how many accepts made a record, and how many commits they and everything else
	// took, since Open.
	Counts func(Store) (accepts, commits int64)
	// Restore makes, from a backup, what Open needs in dir.
	Restore func(backup, dir string) error
}

// Run runs every test against a fresh store.
func Run(t *testing.T, impl Implementation) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"an accepted job comes back whole", acceptedComesBack},
		{"an idempotency key", idempotency},
		{"a key under a race", idempotencyRace},
		{"transitions", transitions},
		{"a terminal record never changes", terminalStays},
		{"what is known first stays", firstStays},
		{"only what may become may be", refusedTransitions},
		{"queued and running for the start", queuedAndRunning},
		{"submitters share commits", sharedCommits},
		{"a synchronous run", saved},
		{"many saves, and each is seen at once", manySaves},
		{"listing in order", listingOrder},
		{"listing by filter", listingFilters},
		{"listing with hostile words", listingHostile},
		{"deleting", deleting},
		{"artifacts", artifacts},
		{"artifacts shared by records", sharedArtifacts},
		{"an artifact stored and deleted at once", artifactRace},
		{"artifact names of every kind", openHostile},
		{"dead letters", deadLetters},
		{"bytes of callers", bytesOfCallers},
		{"purge by age", purgeByAge},
		{"purge to a caller's limit", purgeByCaller},
		{"purge to the limit of all", purgeByTotal},
		{"backup under load", backup},
		{"reopening", reopening},
		{"after the end", afterClose},
		{"a context that has ended", endedContext},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{t: t, impl: impl, dir: filepath.Join(t.TempDir(), "data")}
			f.clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
			f.open()
			c.test(t, f)
			f.check()
			if err := f.store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

type fixture struct {
	t     *testing.T
	impl  Implementation
	dir   string
	store Store
	clock atomic.Int64
	made  atomic.Int64
}

// now is a clock that never stands still, so that times differ.
func (f *fixture) now() time.Time { return time.Unix(0, f.clock.Add(1000)).UTC() }

func (f *fixture) pass(d time.Duration) { f.clock.Add(int64(d)) }

func (f *fixture) open() {
	f.t.Helper()
	var err error
	if f.store, err = f.impl.Open(f.dir, f.now); err != nil {
		f.t.Fatalf("open: %v", err)
	}
}

func (f *fixture) check() {
	f.t.Helper()
	if err := f.store.Check(f.t.Context()); err != nil {
		f.t.Errorf("check: %v", err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want %v", err, target)
	}
}

func (f *fixture) record(caller string) *job.Record {
	n := f.made.Add(1)
	return &job.Record{
		ID: fmt.Sprintf("%08d-aaaa-4aaa-8aaa-%012d", (n*7919)%100000000, n), Caller: caller, Status: job.Queued, JobType: "default", JobRef: "default@latest",
		Async: true, MaxTries: 2, CreatedAt: f.now(), CodeHash: "c0de", ClientIP: "127.0.0.1", CorrelationID: fmt.Sprint("corr-", n),
	}
}

func request() *job.Request {
	seconds := int64(30)
	return &job.Request{
		Code: "print('<&>\u2028\u00e9')", Input: json.RawMessage(`{"a": 1.50e3,  "b":"\u00e9<"}`), Timeout: &seconds, JobType: "default",
		Requirements: []string{"numpy"}, Files: []job.File{{Name: "x", Data: []byte{0, 255}}}, Stdin: []byte{0, 1, 255},
		Args: []string{"-v"}, MemoryLimit: 64 << 20, CPULimit: 0.5, Environment: map[string]string{"A": "b"},
	}
}

func (f *fixture) accept(rec *job.Record) *job.Record {
	f.t.Helper()
	existing, err := f.store.Accept(f.t.Context(), rec, request())
	ok(f.t, err)
	if existing != nil {
		f.t.Fatalf("accept %s: existing %s", rec.ID, existing.ID)
	}
	return rec
}

func (f *fixture) begin(id string) {
	f.t.Helper()
	ok(f.t, f.store.Begin(f.t.Context(), id, 0, "worker-1", f.now().Add(time.Minute)))
}

// finished is a record of a caller that ran, with n bytes of stdout.
func (f *fixture) finished(caller string, n int, artifacts ...job.Artifact) *job.Record {
	f.t.Helper()
	rec := f.accept(f.record(caller))
	f.begin(rec.ID)
	done := *rec
	done.Status, done.Stdout = job.Succeeded, string(make([]byte, n))
	ok(f.t, f.store.Finish(f.t.Context(), &done, artifacts))
	return &done
}

func (f *fixture) get(id string) *job.Record {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), id)
	ok(f.t, err)
	return r
}

func artifact(name, data string) job.Artifact {
	sum := sha256.Sum256([]byte(data))
	return job.Artifact{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Data: []byte(data)}
}

func (f *fixture) bytesOf(digest string) (string, error) {
	file, err := f.store.Open(f.t.Context(), digest)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(file)
	return string(data), errors.Join(err, file.Close())
}

func (f *fixture) ids(filter job.Filter) (ids []string, more bool) {
	f.t.Helper()
	if filter.Limit == 0 {
		filter.Limit = 1000
	}
	items, more, err := f.store.List(f.t.Context(), filter)
	ok(f.t, err)
	for _, r := range items {
		ids = append(ids, r.ID)
	}
	return ids, more
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// together runs do n times at once.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}
