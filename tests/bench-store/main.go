// Command bench-store measures a store with many records beside one that holds as few as fill the
// pages that are measured: submit, get, first page, filtered pages. The two take turns, so that
// both see the same machine. It prints the medians and their ratio, and fails when a ratio is over
// the limit (of filters so narrow that the small store cannot fill the page, the ratio says
// nothing: they are shown without one).
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite" // registers the driver

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

func main() {
	records := flag.Int("n", 1_000_000, "records of the large store")
	rounds := flag.Int("rounds", 300, "measurements of each operation on each store")
	limit := flag.Float64("limit", 1.5, "largest ratio that is no failure")
	dir := flag.String("dir", "", "folder for the two stores (default: a temporary one)")
	flag.Parse()
	if err := run(*records, *rounds, *limit, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench-store:", err)
		os.Exit(1)
	}
}

const pageSize = 100

type subject struct {
	name  string
	store *store.Store
	ids   []string // some that it holds
	next  int
}

func run(records, rounds int, limit float64, dir string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-store"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	ctx := context.Background()
	var subjects []*subject
	for _, s := range []struct {
		name string
		n    int
	}{{"small", 5000}, {"large", records}} {
		started := time.Now()
		sub, err := prepare(ctx, filepath.Join(dir, s.name), s.name, s.n)
		if err != nil {
			return fmt.Errorf("prepare the %s store: %w", s.name, err)
		}
		defer func() { _ = sub.store.Close() }()
		fmt.Printf("%s store: %d records, %d MB, made in %.0f s\n", s.name, s.n, size(filepath.Join(dir, s.name))>>20, time.Since(started).Seconds())
		subjects = append(subjects, sub)
	}
	over := 0
	fmt.Printf("%-34s %12s %12s %7s\n", "median", subjects[0].name, subjects[1].name, "ratio")
	for _, op := range operations {
		var medians [2]time.Duration
		var all [2][]time.Duration
		for range rounds {
			for i, s := range subjects {
				started := time.Now()
				if err := op.do(ctx, s); err != nil {
					return fmt.Errorf("%s on the %s store: %w", op.name, s.name, err)
				}
				all[i] = append(all[i], time.Since(started))
			}
		}
		for i := range all {
			slices.Sort(all[i])
			medians[i] = all[i][len(all[i])/2]
		}
		fmt.Printf("%-34s %12s %12s", op.name, medians[0].Round(time.Microsecond), medians[1].Round(time.Microsecond))
		if op.name[0] == '(' {
			fmt.Println()
			continue
		}
		ratio := float64(medians[1]) / float64(medians[0])
		fmt.Printf(" %7.2f\n", ratio)
		if ratio > limit {
			over++
		}
	}
	fmt.Printf("rss of this process: %d MB\n", rss())
	if over > 0 {
		return fmt.Errorf("%d ratios are over %.2f", over, limit)
	}
	return nil
}

var operations = []struct {
	name string
	do   func(context.Context, *subject) error
}{ // those with a name in brackets are not compared
	{"submit", func(ctx context.Context, s *subject) error {
		_, err := s.store.Accept(ctx, &job.Record{ID: uuid.NewString(), Caller: "uid:1", Status: job.Queued, JobType: kinds[0], Async: true,
			IdempotencyKey: uuid.NewString(), Metadata: map[string]string{"env": "prod"}}, &job.Request{Code: "print(1)", Input: []byte("{}")})
		return err
	}},
	{"get", func(ctx context.Context, s *subject) error {
		s.next++
		_, err := s.store.Get(ctx, s.ids[s.next*7919%len(s.ids)])
		return err
	}},
	{"first page", page(job.Filter{Caller: "uid:1"})},
	{"first page, all callers", page(job.Filter{})},
	{"page by status", page(job.Filter{Caller: "uid:1", Status: "failed"})},
	{"page by job type", page(job.Filter{Caller: "uid:1", JobType: kinds[1]})},
	{"page by status and type", page(job.Filter{Caller: "uid:1", Status: "failed", JobType: kinds[1]})},
	{"page by label", page(job.Filter{Caller: "uid:1", Metadata: map[string]string{"env": "prod"}})},
	{"page by label and status", page(job.Filter{Caller: "uid:1", Status: "failed", Metadata: map[string]string{"env": "prod"}})},
	{"(page by two labels, type, status)", page(job.Filter{Caller: "uid:1", Status: "failed", JobType: kinds[1], Metadata: map[string]string{"env": "prod", "run": "7"}})},
	{"(page by rare label and status)", page(job.Filter{Caller: "uid:1", Status: "failed", Metadata: map[string]string{"rare": "yes"}})},
	{"(page by label and rare status)", page(job.Filter{Caller: "uid:1", Status: "oom", Metadata: map[string]string{"env": "prod"}})},
	{"page by status, all callers", page(job.Filter{Status: "failed"})},
	{"page by label, all callers", page(job.Filter{Metadata: map[string]string{"env": "prod"}})},
	{"page that matches nothing", page(job.Filter{Caller: "uid:nobody", Status: "failed"})},
	{"bytes of a caller", func(ctx context.Context, s *subject) error {
		_, err := s.store.Bytes(ctx, "uid:1")
		return err
	}},
}

func page(f job.Filter) func(context.Context, *subject) error {
	f.Limit = pageSize
	return func(ctx context.Context, s *subject) error {
		_, _, err := s.store.List(ctx, f)
		return err
	}
}

var kinds = []string{"default", "etl", "report"}

// prepare makes a store of n records in which every page that is measured is full, or as full in
// both: every 2nd record is uid:1's, every 5th failed, and the newest page's worth of each kind
// looks the same whatever came before. It writes SQL because that is quicker.
func prepare(ctx context.Context, dir, name string, n int) (*subject, error) {
	s, err := store.Open(ctx, store.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if err := fill(ctx, filepath.Join(dir, "tsubo.db"), n); err != nil {
		return nil, err
	}
	sub := &subject{name: name}
	if sub.store, err = store.Open(ctx, store.Config{Dir: dir}); err != nil {
		return nil, err
	}
	for offset := 0; offset < min(n, 100_000); offset += max(n/50, pageSize) {
		items, _, err := sub.store.List(ctx, job.Filter{Limit: 10, Offset: offset})
		if err != nil {
			return nil, err
		}
		for _, r := range items {
			sub.ids = append(sub.ids, r.ID)
		}
	}
	return sub, nil
}

func fill(ctx context.Context, file string, n int) (err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=synchronous(off)&_pragma=cache_size(-200000)&_pragma=journal_mode(wal)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	for from := 0; from < n; from += 50_000 {
		upTo := min(from+50_000, n)
		for _, q := range []string{
			`WITH RECURSIVE i(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM i WHERE i < ? - 1), x AS (SELECT i, lower(hex(randomblob(16))) AS h FROM i)
			 INSERT INTO records (seq, id, caller, job_type, status, durable, attempt, worker, created_at, dequeued_at, started_at, ended_at, idem_key, fingerprint, own_bytes, rest)
			 SELECT i + 1, substr(h,1,8)||'-'||substr(h,9,4)||'-'||substr(h,13,4)||'-'||substr(h,17,4)||'-'||substr(h,21),
				'uid:' || CASE WHEN i % 2 = 0 THEN 1 ELSE i % 100 END, CASE (i / 2) % 3 WHEN 0 THEN 'default' WHEN 1 THEN 'etl' ELSE 'report' END,
				CASE WHEN i % 100000 = 4 THEN 'oom' WHEN (i / 7) % 3 = 0 THEN 'failed' ELSE 'succeeded' END, 1, 0, 'worker-1',
				1700000000000000000 + i * 1000000, 1700000000000000000 + i * 1000000, 1700000000000000000 + i * 1000000, 1700000000000000000 + i * 1000000 + 5000,
				CASE WHEN i % 3 = 0 THEN 'sdk-' || h END, h, 700,
				CAST('{"job_ref":"default@latest","max_tries":2,"duration_ms":12,"code_hash":"' || h || h || '","input_hash":"' || h || h || '","exit_code":0,"timing":{"startup_ms":1,"dep_install_ms":null,"execution_ms":2,"total_ms":3,"phase_at_exit":"completed"},"client_ip":"unix","correlation_id":"' || h || '"}' AS BLOB)
			 FROM x`,
			`INSERT INTO texts (seq, stdout, output) SELECT seq, CAST('hello, this is a line of output ' || seq || char(10) AS BLOB), CAST('{"n": ' || seq || '}' AS BLOB)
			 FROM records WHERE seq > ? AND seq <= ?`,
			`INSERT INTO requests (seq, body, input) SELECT seq, CAST('{"code":"print(1)  # ` + "' || hex(zeroblob(60)) || '" + `"}' AS BLOB), CAST('{"n": 1}' AS BLOB) FROM records WHERE seq > ? AND seq <= ?`,
			`INSERT INTO labels SELECT caller, 'env', CASE (seq / 3) % 2 WHEN 0 THEN 'prod' ELSE 'test' END, created_at, seq FROM records WHERE seq > ? AND seq <= ?`,
			`INSERT INTO labels SELECT caller, 'run', seq % 11, created_at, seq FROM records WHERE seq > ? AND seq <= ?`,
			`INSERT INTO labels SELECT caller, 'rare', 'yes', created_at, seq FROM records WHERE seq > ? AND seq <= ? AND seq % 50000 = 21`,
		} {
			if _, err := db.ExecContext(ctx, q, from, upTo); err != nil {
				return fmt.Errorf("fill: %w", err)
			}
		}
	}
	return db.Close()
}

func size(dir string) (n int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// rss is the resident memory in MB.
func rss() (mb int) {
	data, _ := os.ReadFile("/proc/self/statm")
	var total, resident int
	_, _ = fmt.Sscan(string(data), &total, &resident)
	return resident * os.Getpagesize() >> 20
}
