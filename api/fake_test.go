package api

import (
	"context"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/tsubo-run/tsubo/job"
)

// fakeExecutor notes what it is asked to run, and has a store of its own.
type fakeExecutor struct {
	mu     sync.Mutex
	specs  []*job.Spec
	kept   []bool
	run    func(context.Context, *job.Spec) (*job.Result, error)
	submit func(job.Submission) (*job.Record, bool, error)
	live   map[string]job.Live
	wait   func(ctx context.Context, id string) error
	events func(ctx context.Context, id string, after uint64) (iter.Seq[job.Event], bool)
	store  *fakeStore
}

func (f *fakeExecutor) Execute(ctx context.Context, s job.Submission, keep bool, watch func(iter.Seq[job.Event])) (*job.Record, *job.Result, error) {
	f.mu.Lock()
	f.specs, f.kept = append(f.specs, s.Spec), append(f.kept, keep)
	run := f.run
	f.mu.Unlock()
	if watch != nil && f.events != nil {
		events, _ := f.events(ctx, s.Spec.ID, 0)
		watch(events)
	}
	result := s.Spec.Refused()
	var err error
	switch {
	case result != nil:
	case run != nil:
		result, err = run(ctx, s.Spec)
	default:
		result = succeeded()
	}
	if err != nil {
		return nil, nil, err
	}
	record := *s.Record
	record.Status = result.Status
	return &record, result, nil
}

func (f *fakeExecutor) Submit(_ context.Context, s job.Submission) (*job.Record, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.specs = append(f.specs, s.Spec)
	if f.submit != nil {
		return f.submit(s)
	}
	f.store.put(s.Record, s.Request)
	return s.Record, false, nil
}

func (f *fakeExecutor) Cancel(_ context.Context, id string) (bool, error) {
	_, live := f.Live(id)
	return live, nil
}

func (f *fakeExecutor) Running() []*job.Record { return nil }

func (f *fakeExecutor) Live(id string) (job.Live, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, ok := f.live[id]
	return l, ok
}

func (f *fakeExecutor) Wait(ctx context.Context, id string) error {
	if f.wait != nil {
		return f.wait(ctx, id)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeExecutor) Events(ctx context.Context, id string, after uint64) (iter.Seq[job.Event], bool) {
	if f.events != nil {
		return f.events(ctx, id, after)
	}
	return nil, false
}

func (f *fakeExecutor) Stats() job.QueueStats {
	return job.QueueStats{Pending: 1, Running: 2, MaxWorkers: 4, MaxQueueSize: 100}
}

func (f *fakeExecutor) ran() []*job.Spec {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.specs)
}

// fakeStore holds records; err is what everything fails with, when it is not nil.
type fakeStore struct {
	mu       sync.Mutex
	records  map[string]*job.Record
	requests map[string]*job.Request
	files    map[string]string // path by digest
	dead     []job.DeadLetter
	err      error
	backup   func(io.Writer) error
}

func (f *fakeStore) put(r *job.Record, q *job.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.records == nil {
		f.records, f.requests = map[string]*job.Record{}, map[string]*job.Request{}
	}
	f.records[r.ID], f.requests[r.ID] = r, q
}

func (f *fakeStore) Get(_ context.Context, id string) (*job.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.records[id]; r != nil || f.err != nil {
		return r, f.err
	}
	return nil, job.ErrNotFound
}

func (f *fakeStore) Each(_ context.Context, q job.Filter, do func(*job.Record) error) (bool, error) {
	f.mu.Lock()
	var all []*job.Record
	for _, id := range slices.Sorted(maps.Keys(f.records)) {
		if r := f.records[id]; q.Caller == "" || q.Caller == r.Caller {
			all = append(all, r)
		}
	}
	f.mu.Unlock()
	all = all[min(q.Offset, len(all)):]
	for _, r := range all[:min(q.Limit, len(all))] {
		if err := do(r); err != nil {
			return false, err
		}
	}
	return len(all) > q.Limit, f.err
}

func (f *fakeStore) Request(_ context.Context, id string) (*job.Request, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.requests[id]; r != nil || f.err != nil {
		return r, f.err
	}
	return nil, job.ErrNotFound
}

func (f *fakeStore) Delete(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.records, id)
	return f.err
}

func (f *fakeStore) Open(_ context.Context, digest string) (*os.File, error) {
	if path, ok := f.files[digest]; ok {
		return os.Open(path)
	}
	return nil, job.ErrNotFound
}

func (f *fakeStore) DeadLetters(_ context.Context, _, kind string, limit, offset int) ([]job.DeadLetter, bool, error) {
	all := slices.DeleteFunc(slices.Clone(f.dead), func(d job.DeadLetter) bool { return kind != "" && d.ErrorType != kind })
	all = all[min(offset, len(all)):]
	return all[:min(limit, len(all))], len(all) > limit, f.err
}

func (f *fakeStore) DeadStats(context.Context) (int, map[string]int, error) {
	var by map[string]int
	for _, d := range f.dead {
		if by == nil {
			by = map[string]int{}
		}
		by[d.ErrorType]++
	}
	return len(f.dead), by, f.err
}

func (f *fakeStore) RemoveDead(_ context.Context, id int64) error {
	for i, d := range f.dead {
		if d.ID == id {
			f.dead = slices.Delete(f.dead, i, i+1)
			return nil
		}
	}
	return job.ErrNotFound
}

// fakeImages reads archives whole.
type fakeImages struct {
	mu       sync.Mutex
	imported []string
	bytes    int
	err      error
	list     []job.Image
}

func (f *fakeImages) List(context.Context) ([]job.Image, error) { return f.list, f.err }

func (f *fakeImages) Import(_ context.Context, name string, archive io.Reader) (job.Image, error) {
	data, err := io.ReadAll(archive)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes = len(data); err == nil {
		err = f.err
	}
	if err != nil {
		return job.Image{}, wrapped{err}
	}
	f.imported = append(f.imported, name)
	return job.Image{Name: name, Digest: "sha256:" + strings.Repeat("a", 64), Rootfs: "erofs", SizeBytes: int64(len(data))}, nil
}

type wrapped struct{ error }

func (w wrapped) Error() string { return "import: " + w.error.Error() }
func (w wrapped) Unwrap() error { return w.error }

func (f *fakeStore) WriteBackup(_ context.Context, w io.Writer) error {
	if f.backup != nil {
		return f.backup(w)
	}
	_, err := io.WriteString(w, "a tar")
	return err
}

func (f *fakeStore) Check(context.Context) error { return f.err }
