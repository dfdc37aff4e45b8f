package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

func TestLedger(t *testing.T) {
	var out bytes.Buffer
	l := &ledger{out: &out}
	crashed := make(chan bool, 2)
	l.crash, l.crashAt = func() { crashed <- true }, 2
	l.say(sayTry, tryAccept, "a")
	l.say(sayAccepted, "key-a", "a", "small")
	l.say(sayLoading)
	l.say(sayBegun, "a")
	select {
	case <-crashed:
		t.Fatal("crashed before its line")
	default:
	}
	l.say(sayEnded, "a", "d1")
	<-crashed
	l.say(sayDone)

	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(path, append(out.Bytes(), "7 ended b d"...), 0o600); err != nil {
		t.Fatal(err)
	}
	facts, err := readLedger(path)
	if err != nil || len(facts) != 6 {
		t.Fatalf("%d facts, %v: want 6, without the torn line", len(facts), err)
	}
	k := learn(facts)["a"]
	if !k.accepted || k.key != "key-a" || k.kind != "small" || k.ended != "d1" || !k.tried[tryAccept] {
		t.Errorf("learnt %+v", k)
	}
	if err := os.WriteFile(path, []byte("1 done\n3 done\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLedger(path); err == nil {
		t.Error("a ledger with a gap was read")
	}
}

// Each kind of contradiction that the rounds are there to find.
func TestContradictions(t *testing.T) {
	finish := map[string]bool{tryFinish: true}
	for _, c := range []struct {
		name  string
		k     known
		now   job.Status
		power bool
		bad   bool
	}{
		{"ended and the same", known{ended: "d"}, job.Succeeded, true, false},
		{"ended and another digest", known{ended: "x"}, job.Succeeded, true, true},
		{"ended and queued again", known{ended: "d"}, job.Queued, true, true},
		{"ended by nobody", known{}, job.Failed, false, true},
		{"ended by one who got no answer", known{tried: finish}, job.Failed, false, false},
		{"started, and queued after a kill", known{begun: true}, job.Queued, false, true},
		{"started, and queued after a power cut", known{begun: true}, job.Queued, true, false},
		{"never started and running", known{}, job.Running, true, true},
		{"queued", known{accepted: true}, job.Queued, false, false},
	} {
		if why := c.k.contradicts(c.now, "d", c.power); (why != "") != c.bad {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

func TestTsubodContradictions(t *testing.T) {
	restart := time.Now()
	before, after := job.StampOf(restart.Add(-time.Second)), job.StampOf(restart.Add(time.Second))
	s := submission{1, 1} // no artifact
	rec := func(status job.Status, at *job.Stamp, kind job.ErrorType) *record {
		r := &record{digest: "d"}
		r.Status, r.EndedAt, r.Stdout = status, at, s.stdout()
		if kind != "" {
			r.Error = &job.Error{Type: kind}
		}
		return r
	}
	for _, c := range []struct {
		name  string
		k     known
		r     *record
		power bool
		bad   bool
	}{
		{"started and interrupted", known{begun: true, kind: "small"}, rec(job.Failed, after, job.TypeInterrupted), false, false},
		{"interrupted, of a type that is run again", known{begun: true, kind: "again"}, rec(job.Failed, after, job.TypeInterrupted), false, true},
		{"started and queued", known{begun: true, kind: "small"}, rec(job.Queued, nil, ""), false, true},
		{"started and queued, of a type that is run again", known{begun: true, kind: "again"}, rec(job.Queued, nil, ""), false, false},
		{"started and queued after a power cut", known{begun: true, kind: "small"}, rec(job.Queued, nil, ""), true, false},
		{"started and run again", known{begun: true, kind: "small"}, rec(job.Succeeded, after, ""), false, true},
		{"started and ended before the kill", known{begun: true, kind: "small"}, rec(job.Succeeded, before, ""), false, false},
		{"failed for no reason of its own", known{kind: "small"}, rec(job.Failed, after, job.TypeInternal), false, true},
		{"cancelled by nobody", known{kind: "small"}, rec(job.Cancelled, after, ""), false, true},
		{"another end than before", known{ended: "x", kind: "small"}, rec(job.Succeeded, before, ""), true, true},
	} {
		c.k.key = s.key()
		check := &check{d: &tsubod{started: restart}, o: startOptions{power: c.power}}
		if why := check.contradicts(&c.k, c.r); (why != "") != c.bad {
			t.Errorf("%s: %q", c.name, why)
		}
	}
}

func TestKeysFollowFromSubmissions(t *testing.T) {
	s := submission{seed: 1 << 62, i: 17}
	if got, err := parseKey(s.key()); err != nil || got != s {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parseKey("key-x"); err == nil {
		t.Error("a key of no load was parsed")
	}
}

// A log of dm-log-writes is replayed up to the mark and no further; a discard is skipped.
func TestReplay(t *testing.T) {
	const size = 512
	entry := func(where, count, flags uint64, text string) []byte {
		b := make([]byte, size)
		binary.LittleEndian.PutUint64(b, where)
		binary.LittleEndian.PutUint64(b[8:], count)
		binary.LittleEndian.PutUint64(b[16:], flags)
		binary.LittleEndian.PutUint64(b[24:], uint64(len(text)))
		copy(b[32:], text)
		return b
	}
	data := func(c string) []byte { return []byte(strings.Repeat(c, size)) }
	head := make([]byte, size)
	binary.LittleEndian.PutUint64(head, logMagic)
	binary.LittleEndian.PutUint64(head[8:], 1)
	binary.LittleEndian.PutUint64(head[16:], 7)
	binary.LittleEndian.PutUint32(head[24:], size)
	log := bytes.Join([][]byte{
		head,
		entry(1, 1, 0, ""), data("a"),
		entry(0, 8, flagDiscard, ""),
		entry(0, 0, flagMark, "line-1"),
		entry(3, 2, 2, ""), data("b"), data("c"),
		entry(0, 0, flagMark, "line-10"),
		entry(1, 1, 0, ""), data("x"),
		entry(0, 0, flagMark, "end"),
	}, nil)
	dir := t.TempDir()
	d := &logDisk{log: filepath.Join(dir, "log")}
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(d.log, log, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := emptyFile(target, 8*size); err != nil {
		t.Fatal(err)
	}
	if err := d.replay(target, "line-10"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Join([][]byte{make([]byte, size), data("a"), make([]byte, size), data("b"), data("c"), make([]byte, 3*size)}, nil)
	if !bytes.Equal(got, want) {
		t.Error("the target is not what the log says")
	}
	if err := d.replay(target, "line-100"); err == nil {
		t.Error("a mark that is not there was found")
	}
}
