package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

const callers = 3

// storeStart is one start of the store: what an earlier one left is checked, then it is loaded.
func storeStart(ctx context.Context, o startOptions, l *ledger) error {
	before, err := readLedger(o.before)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{Dir: o.dir})
	if err != nil {
		return err
	}
	if err := checkStore(ctx, s, before, o.power, l); err != nil {
		return errors.Join(err, s.Close())
	}
	if o.load > 0 {
		l.say(sayLoading)
		if err := loadStore(ctx, s, o, l); err != nil {
			return errors.Join(err, s.Close())
		}
		l.say(sayDone)
	}
	return s.Close()
}

// loadStore submits o.load jobs, 16 at a time, and lets them end in every way.
func loadStore(ctx context.Context, s *store.Store, o startOptions, l *ledger) error {
	jobs := make(chan int)
	errs := make(chan error, 16)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for i := range jobs {
				if err := storeJob(ctx, s, o.seed, i, l); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	var err error
	for i := range o.load {
		select {
		case jobs <- i:
			continue
		case err = <-errs:
		}
		break
	}
	close(jobs)
	wg.Wait()
	select {
	case err = <-errs:
	default:
	}
	return err
}

// storeJob takes one job as far as its number prescribes.
func storeJob(ctx context.Context, s *store.Store, seed uint64, i int, l *ledger) error {
	rnd := dice(seed, uint64(i))
	id := fmt.Sprintf("j-%d-%d", seed, i)
	rec := &job.Record{
		ID: id, Caller: fmt.Sprint("uid:", i%callers), Status: job.Queued, JobType: "default", JobRef: "default@latest", Async: true,
		IdempotencyKey: "key-" + id, Fingerprint: "fp-" + id,
	}
	req := &job.Request{Code: "print(" + fmt.Sprint(i) + ")", Input: json.RawMessage(`{"n": 1.0}`)}
	l.say(sayTry, tryAccept, id)
	if old, err := s.Accept(ctx, rec, req); err != nil || old != nil {
		return fmt.Errorf("accept %s: %v, %w", id, old, err)
	}
	l.say(sayAccepted, rec.IdempotencyKey, id)
	fate := rnd.IntN(10)
	if fate < 2 { // stays in the queue
		return nil
	}
	if fate >= 4 {
		l.say(sayTry, tryBegin, id)
		if err := s.Begin(ctx, id, 0, "worker-1", time.Now().Add(time.Minute)); err != nil {
			return err
		}
		l.say(sayBegun, id)
	}
	switch fate {
	case 4: // goes on running
		return nil
	case 5:
		l.say(sayTry, tryRequeue, id)
		if err := s.Requeue(ctx, id); err != nil {
			return err
		}
		l.say(sayQueued, id)
		return nil
	}
	l.say(sayTry, tryFinish, id)
	rec.Status, rec.Stdout = job.Succeeded, string(bytes.Repeat([]byte("line\n"), rnd.IntN(2000)))
	var artifacts []job.Artifact
	if fate < 4 {
		rec.Status = job.Cancelled
	} else {
		for n := range rnd.IntN(4) {
			data := bytes.Repeat([]byte{byte(rnd.IntN(3))}, rnd.IntN(1<<17)) // now and then the same bytes
			artifacts = append(artifacts, job.Artifact{Name: fmt.Sprintf("a%d.bin", n), Data: data})
		}
	}
	if err := s.Finish(ctx, rec, artifacts); err != nil {
		return err
	}
	seen, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	l.say(sayEnded, id, digest(seen))
	if fate == 9 {
		l.say(sayTry, tryDelete, id)
		if err := s.Delete(ctx, id); err != nil {
			return err
		}
		l.say(sayDeleted, id)
	}
	return nil
}

// dice gives the same throws again for the same seed and stream.
func dice(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // a round is to be repeatable, not secret
}

// digest of a record's whole content.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		fatal("encode a record: %v", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// checkStore compares what is there after a crash with what was known before it, and reports what
// is there.
func checkStore(ctx context.Context, s *store.Store, before []fact, power bool, l *ledger) error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if err := s.Check(ctx); err != nil {
		bad("%w", err)
	}
	all := learn(before)
	for _, k := range all {
		rec, err := s.Get(ctx, k.id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			bad("read %s: %w", k.id, err)
			continue
		}
		if err != nil {
			if k.accepted && !k.tried[tryDelete] {
				bad("%s was accepted and is gone", k.id)
			}
			continue
		}
		if k.deleted {
			bad("%s was deleted and is back", k.id)
		}
		if why := k.contradicts(rec.Status, digest(rec), power); why != "" {
			bad("%s: %s", k.id, why)
		}
		if rec.IdempotencyKey != "" && rec.IdempotencyKey != "key-"+rec.ID {
			bad("%s has the key %q", k.id, rec.IdempotencyKey)
		}
		if err := sayFound(ctx, s, k, rec, l); err != nil {
			bad("%s: %w", k.id, err)
		}
	}
	for offset, more := 0, true; more; offset += 500 {
		var page []job.Record
		var err error
		if page, more, err = s.List(ctx, job.Filter{Limit: 500, Offset: offset}); err != nil {
			return errors.Join(append(wrong, err)...)
		}
		for _, r := range page {
			if k := all[r.ID]; k == nil || !k.accepted && !k.tried[tryAccept] {
				bad("%s is there and nobody submitted it", r.ID)
			}
		}
	}
	return contradictions(wrong)
}

// sayFound says the state of one record as what is known from now on. Its artifacts and its request
// must be readable, and its key taken.
func sayFound(ctx context.Context, s *store.Store, k *known, rec *job.Record, l *ledger) error {
	for _, a := range rec.Artifacts {
		if err := sameBytes(ctx, s, a); err != nil {
			return err
		}
	}
	if _, err := s.Request(ctx, rec.ID); err != nil {
		return fmt.Errorf("read its request: %w", err)
	}
	again := *rec
	again.ID, again.Status = "again-"+rec.ID, job.Queued
	switch old, err := s.Accept(ctx, &again, &job.Request{}); {
	case err != nil:
		return fmt.Errorf("submit its key again: %w", err)
	case old == nil || old.ID != rec.ID:
		return fmt.Errorf("its key is free")
	}
	l.say(sayTry, tryAccept, rec.ID)
	l.say(sayAccepted, rec.IdempotencyKey, rec.ID)
	switch {
	case rec.Status.Terminal():
		l.say(sayEnded, rec.ID, digest(rec))
	case rec.Status == job.Running:
		l.say(sayBegun, rec.ID)
	}
	return nil
}

func sameBytes(ctx context.Context, s *store.Store, a job.ArtifactRef) (err error) {
	f, err := s.Open(ctx, a.SHA256)
	if err != nil {
		return fmt.Errorf("open artifact %s: %w", a.Name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return fmt.Errorf("read artifact %s: %w", a.Name, err)
	}
	if n != a.Size || hex.EncodeToString(h.Sum(nil)) != a.SHA256 {
		return fmt.Errorf("artifact %s has %d bytes that are not those of its digest", a.Name, n)
	}
	return nil
}

// contradicts reports what is wrong about a job that is in this state after a crash; "" when
// nothing is. After a power cut a start may be forgotten, an end never (ruling 4).
func (k *known) contradicts(now job.Status, digest string, power bool) string {
	switch {
	case k.ended != "" && !now.Terminal():
		return fmt.Sprintf("had ended and is %s", now)
	case k.ended != "" && digest != k.ended:
		return fmt.Sprintf("had ended, and its record has changed: it is %s", now)
	case k.ended != "":
		return ""
	case now.Terminal() && !k.tried[tryFinish]:
		return fmt.Sprintf("is %s, and nobody ended it", now)
	case now == job.Running && !k.begun && !k.tried[tryBegin]:
		return "is running, and nobody started it"
	case now == job.Queued && k.begun && !k.tried[tryRequeue] && !power:
		return "had started and is queued"
	}
	return ""
}

type startOptions struct {
	dir    string
	before string // ledger of the start before
	power  bool   // that start was ended by a power cut, or what amounts to one
	load   int    // submissions
	seed   uint64
	mark   string // device of dm-log-writes
	kill   int    // lines into the load after which it is killed; 0: never
	seeds  string // folder of imported images, for tsubod
}

// ledger makes the ledger of a start, with kill as its end.
func (o startOptions) ledger(kill func()) *ledger {
	l := &ledger{out: os.Stdout}
	if o.mark != "" {
		l.mark = func(n int) error { return logMark(o.mark, fmt.Sprint("line-", n)) }
	}
	if o.kill > 0 {
		rnd := dice(o.seed, 1)
		l.crashAt = o.kill
		l.crash = func() {
			time.Sleep(time.Duration(rnd.IntN(5000)) * time.Microsecond)
			kill()
		}
	}
	return l
}

func storeMain(o startOptions) error {
	return storeStart(context.Background(), o, o.ledger(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }))
}
