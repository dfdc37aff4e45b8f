package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/tsubo-run/tsubo/job"
)

const (
	left     = 1   // queued jobs that are left to run after a restart
	remember = 300 // ended jobs that later starts look at again
)

// check is what is compared after one crash.
type check struct {
	d   *tsubod
	l   *ledger
	o   startOptions
	all map[string]*known
	now map[string]*record // by id

	mu    sync.Mutex // guards wrong, and now while several write to it
	wrong []error
}

func (c *check) bad(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Errorf(format, args...))
}

func (c *check) found(id string, r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[id] = r
}

// each runs do for all, eight at a time, and returns the first error.
func each[T any](all []T, do func(T) error) (err error) {
	var wg sync.WaitGroup
	var once sync.Once
	next := make(chan T)
	for range 8 {
		wg.Go(func() {
			for x := range next {
				if e := do(x); e != nil {
					once.Do(func() { err = e })
				}
			}
		})
	}
	for _, x := range all {
		next <- x
	}
	close(next)
	wg.Wait()
	return err
}

// checkTsubod compares what a tsubod reports and does after a crash with what was known before it,
// and reports what is there.
func checkTsubod(d *tsubod, before []fact, o startOptions, l *ledger) error {
	c := &check{d: d, l: l, o: o, all: learn(before), now: map[string]*record{}}
	for _, step := range []func() error{c.records, c.keys, c.noKeyTwice, c.rest, c.disk, c.doctor} {
		if err := step(); err != nil || len(c.wrong) > 0 {
			return errors.Join(contradictions(c.wrong), err)
		}
	}
	if err := d.nothingLeft(o.seeds); err != nil {
		c.bad("%w", err)
	}
	c.remember()
	return contradictions(c.wrong)
}

// records: every accepted job is there, and ruling 4 holds for it.
func (c *check) records() error {
	return each(slices.Collect(maps.Values(c.all)), func(k *known) error {
		if !k.accepted {
			return nil
		}
		r, err := c.d.record(k.id)
		if errors.Is(err, errGone) {
			c.bad("%s (%s) was accepted and is gone", k.id, k.key)
			return nil
		}
		if err != nil {
			return err
		}
		c.found(k.id, r)
		if why := c.contradicts(k, r); why != "" {
			c.bad("%s (%s): %s", k.id, k.key, why)
		}
		return nil
	})
}

// contradicts reports what is wrong about a record; "" when nothing is.
func (c *check) contradicts(k *known, r *record) string {
	again := k.kind == "again"
	interrupted := r.Status == job.Failed && r.Error != nil && r.Error.Type == job.TypeInterrupted
	afterRestart := r.EndedAt == nil || time.Time(*r.EndedAt).After(c.d.started)
	switch {
	case k.ended != "" && r.digest != k.ended:
		return fmt.Sprintf("had ended, and its record has changed: it is %s", r.Status)
	case k.ended != "":
		return ""
	case interrupted && again:
		return "was interrupted, and its type says that it is run again"
	case interrupted:
		return ""
	case k.begun && !again && !c.o.power && (!r.Status.Terminal() || afterRestart):
		return fmt.Sprintf("had started, and now it is %s", r.Status)
	case r.Status == job.Cancelled && !k.tried[tryFinish]:
		return "is cancelled, and nobody cancelled it"
	case r.Status.Terminal() && r.Status != job.Cancelled:
		return c.result(k, r)
	}
	return ""
}

// result: a job that was run to its end did what its code says.
func (c *check) result(k *known, r *record) string {
	s, err := parseKey(k.key)
	if err != nil {
		return err.Error()
	}
	if r.Status != job.Succeeded || r.Stdout != s.stdout() {
		return fmt.Sprintf("ended as %s %v with %q on its output", r.Status, r.Error, r.Stdout)
	}
	if s.artifact() == "" && len(r.Artifacts) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(s.artifact()))
	if len(r.Artifacts) != 1 || r.Artifacts[0].SHA256 != hex.EncodeToString(sum[:]) {
		return fmt.Sprintf("has artifacts %v", r.Artifacts)
	}
	bytes, err := want(c.d.get("/jobs/" + k.id + "/artifacts/" + r.Artifacts[0].Name))
	if err != nil {
		return "its artifact: " + err.Error()
	}
	if string(bytes) != s.artifact() {
		return fmt.Sprintf("its artifact is %q", bytes)
	}
	return ""
}

// keys: a submission of an accepted job's key gives that job; one that got no answer can be
// repeated.
func (c *check) keys() error {
	taken := map[string]string{}
	for _, k := range c.all {
		if k.accepted {
			taken[k.key] = k.id
		}
	}
	var fresh []*known
	err := each(slices.Collect(maps.Values(c.all)), func(k *known) error {
		key := k.key
		if !k.accepted {
			key = k.id // of a submission that got no answer
		}
		s, err := parseKey(key)
		if err != nil || !k.accepted && taken[key] != "" {
			return err
		}
		id, err := c.d.submit(s)
		if err != nil {
			return err
		}
		if was := taken[key]; was != "" && was != id {
			c.bad("the key %s belonged to %s and now gives %s", key, was, id)
		}
		if k.accepted {
			return nil
		}
		r, err := c.d.record(id)
		if err != nil {
			return err
		}
		c.found(id, r)
		c.mu.Lock()
		defer c.mu.Unlock()
		fresh = append(fresh, &known{id: id, key: key, kind: s.kind(), accepted: true, tried: map[string]bool{}})
		return nil
	})
	for _, k := range fresh {
		c.all[k.id] = k
	}
	return err
}

// noKeyTwice: no two records have the same idempotency key.
func (c *check) noKeyTwice() error {
	seen := map[string]string{}
	for offset, more := 0, true; more; offset += 1000 {
		text, err := want(c.d.get(fmt.Sprintf("/executions?view=full&limit=1000&offset=%d", offset)))
		if err != nil {
			return err
		}
		var page struct {
			Items   []job.FullAnswer `json:"items"`
			HasMore bool             `json:"has_more"`
		}
		if err := json.Unmarshal(text, &page); err != nil {
			return err
		}
		for _, r := range page.Items {
			if r.IdempotencyKey == nil {
				c.bad("%s has lost its key", r.ExecutionID)
				continue
			}
			if twin := seen[*r.IdempotencyKey]; twin != "" {
				c.bad("%s and %s have the same key %s", twin, r.ExecutionID, *r.IdempotencyKey)
			}
			seen[*r.IdempotencyKey] = r.ExecutionID
		}
		more = page.HasMore
	}
	return nil
}

// rest: what is left runs, but for most of what is only queued: that is cancelled, because the VM
// is slow.
func (c *check) rest() error {
	var open []string
	for id, r := range c.now {
		if !r.Status.Terminal() {
			open = append(open, id)
		}
	}
	sort.Slice(open, func(i, j int) bool { // those that were interrupted first
		a, b := c.all[open[i]], c.all[open[j]]
		if a.begun != b.begun {
			return a.begun
		}
		return a.id < b.id
	})
	var surplus []string
	queued := 0
	for _, id := range open {
		if c.all[id].begun || c.now[id].Status == job.Running {
			continue
		}
		if queued++; queued > left {
			surplus = append(surplus, id)
		}
	}
	err := each(surplus, func(id string) error {
		status, answer, err := c.d.do(http.MethodPost, "/jobs/"+id+"/cancel", nil)
		if err == nil && status == http.StatusNotFound {
			return nil // it has ended
		}
		_, err = want(status, answer, err)
		return err
	})
	if err != nil {
		return fmt.Errorf("cancel what is queued: %w", err)
	}
	return each(open, func(id string) error {
		r, err := c.ended(id)
		if err != nil {
			return err
		}
		c.found(id, r)
		if r.Status == job.Cancelled && slices.Contains(surplus, id) {
			return nil
		}
		if why := c.result(c.all[id], r); why != "" {
			c.bad("%s (%s), which was open after the restart: %s", id, c.all[id].key, why)
		}
		return nil
	})
}

// ended waits for the end of a job.
func (c *check) ended(id string) (*record, error) {
	for deadline := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		r, err := c.d.record(id)
		if err != nil || r.Status.Terminal() {
			return r, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s does not end: it is %s", id, r.Status)
		}
	}
}

// doctor: tsubo's own check of all that is kept.
func (c *check) doctor() error {
	if out, err := exec.Command("tsubo", "doctor", "--config", c.d.config).CombinedOutput(); err != nil {
		c.bad("tsubo doctor: %w\n%s", err, out)
	}
	return nil
}

// disk: the database is sound, and every file of an artifact has the digest that is its name.
func (c *check) disk() error {
	state := filepath.Join(c.o.dir, "data", "state")
	db, err := sql.Open("sqlite", "file:"+filepath.Join(state, "tsubo.db")+"?mode=ro&_pragma=busy_timeout(20000)")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var word string
	if err := db.QueryRow("PRAGMA integrity_check(1)").Scan(&word); err != nil {
		return fmt.Errorf("integrity_check: %w", err)
	}
	if word != "ok" {
		c.bad("integrity_check: %s", word)
	}
	artifacts, err := os.OpenRoot(filepath.Join(state, "artifacts"))
	if err != nil {
		return err
	}
	defer func() { _ = artifacts.Close() }()
	return fs.WalkDir(artifacts.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := artifacts.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		if name := filepath.Base(path); hex.EncodeToString(h.Sum(nil)) != name {
			c.bad("artifact %s does not have its digest", path)
		}
		return nil
	})
}

// remember reports what later starts are to find unchanged.
func (c *check) remember() {
	n := 0
	for id, r := range c.now {
		if n++; n > remember {
			return
		}
		k := c.all[id]
		c.l.say(sayAccepted, k.key, id, k.kind)
		c.l.say(sayEnded, id, r.digest)
	}
}
