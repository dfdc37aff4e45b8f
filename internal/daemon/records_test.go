package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

// The purge runs at once and ends with the daemon.
func TestPurgeAtStart(t *testing.T) {
	cfg := configured(t, "")
	dir := filepath.Join(cfg.DataDir, stateDir)
	past := func() time.Time { return time.Now().Add(-40 * 24 * time.Hour) }
	old, err := store.Open(t.Context(), store.Config{Dir: dir, Now: past})
	if err != nil {
		t.Fatal(err)
	}
	rec := &job.Record{ID: "old", Caller: "uid:1", Status: job.Queued, Async: true, CreatedAt: past()}
	if _, err := old.Accept(t.Context(), rec, &job.Request{Code: "1"}); err != nil {
		t.Fatal(err)
	}
	rec.Status, rec.EndedAt = job.Cancelled, past()
	if err := old.Finish(t.Context(), rec, nil); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	d := bare(t, cfg)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := d.store.Get(t.Context(), "old"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a record of 40 days ago is still there")
		}
	}
}

// A write that exceeds the configured total wakes the purge, long before purgeEvery.
func TestOverrunWakesPurge(t *testing.T) {
	d := bare(t, configured(t, ""))
	keep := *d.cfg
	keep.Keeping.TotalBytes = 100_000
	if err := d.setRules(&keep); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"first", "second"} {
		d.store.Save(&job.Record{ID: id, Caller: "uid:1", Status: job.Succeeded, Stdout: strings.Repeat("x", 70_000)},
			nil, nil)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := d.store.Bytes(t.Context(), "")
		if err == nil && n > 0 && n <= keep.Keeping.TotalBytes {
			if _, err = d.store.Get(t.Context(), "first"); errors.Is(err, job.ErrNotFound) {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are kept: %v", n, err)
		}
	}
}
