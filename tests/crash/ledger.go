package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// fact is one line of a ledger. It is said after the thing is known, and try before it is
// attempted.
type fact struct {
	n    int
	verb string
	args []string
}

// The verbs of a ledger. ID is a job's, KEY its idempotency key.
const (
	sayTry      = "try"      // WHAT ID: from now on it may have happened; of a submission to a tsubod: "try accept KEY"
	sayAccepted = "accepted" // KEY ID [TYPE]
	sayBegun    = "begun"    // ID: seen running
	sayQueued   = "queued"   // ID: seen queued again
	sayEnded    = "ended"    // ID DIGEST: a terminal answer was seen, and this is its digest
	sayDeleted  = "deleted"  // ID
	sayLoading  = "loading"  // all before is what was found at the start
	sayDone     = "done"     // the load is over
)

// ledger writes facts, one a line, numbered from 1. It is safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	out   io.Writer
	n     int
	facts []fact
	mark  func(n int) error // called after lines that are marked; nil for none

	crash   func() // called once, when the load has said so many lines, or is over; nil for none
	crashAt int
	loading int // number of that line
}

func (l *ledger) say(verb string, args ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.facts = append(l.facts, fact{n: l.n, verb: verb, args: args})
	line := strconv.Itoa(l.n) + " " + verb
	for _, a := range args {
		line += " " + a
	}
	if _, err := io.WriteString(l.out, line+"\n"); err != nil {
		fatal("write the ledger: %v", err)
	}
	if l.mark != nil && marked(l.n) {
		if err := l.mark(l.n); err != nil {
			fatal("mark line %d: %v", l.n, err)
		}
	}
	if verb == sayLoading {
		l.loading = l.n
	}
	if l.crash != nil && l.loading > 0 && (l.n-l.loading >= l.crashAt || verb == sayDone) {
		go l.crash()
		l.crash = nil
	}
}

// readLedger reads what a start reported; the last line may be torn. A file that is "" is an empty
// ledger.
func readLedger(path string) ([]fact, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var facts []fact
	lines := bufio.NewScanner(bytes.NewReader(text[:bytes.LastIndexByte(text, '\n')+1]))
	for lines.Scan() {
		f, err := parseFact(lines.Text())
		if err != nil {
			return nil, err
		}
		if f.n != len(facts)+1 {
			return nil, fmt.Errorf("line %d of the ledger says that it is line %d", len(facts)+1, f.n)
		}
		facts = append(facts, f)
	}
	return facts, lines.Err()
}

func parseFact(line string) (fact, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return fact{}, fmt.Errorf("no fact: %q", line)
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		return fact{}, fmt.Errorf("no fact: %q", line)
	}
	return fact{n: n, verb: words[1], args: words[2:]}, nil
}

func writeLedger(path string, facts []fact) error {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "%d %s %s\n", f.n, f.verb, strings.Join(f.args, " "))
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// known is a ledger's knowledge of one job.
type known struct {
	id, key, kind string
	accepted      bool
	begun         bool
	ended         string // digest
	deleted       bool
	tried         map[string]bool
}

// learn turns facts into what is known of each job, by id.
func learn(facts []fact) map[string]*known {
	all := map[string]*known{}
	of := func(id string) *known {
		k := all[id]
		if k == nil {
			k = &known{id: id, tried: map[string]bool{}}
			all[id] = k
		}
		return k
	}
	for _, f := range facts {
		switch f.verb {
		case sayTry:
			of(f.args[1]).tried[f.args[0]] = true
		case sayAccepted:
			k := of(f.args[1])
			k.accepted, k.key = true, f.args[0]
			if len(f.args) > 2 {
				k.kind = f.args[2]
			}
		case sayBegun:
			of(f.args[0]).begun = true
		case sayQueued:
			k := of(f.args[0])
			k.begun, k.tried[tryBegin], k.tried[tryRequeue] = false, false, false
		case sayEnded:
			of(f.args[0]).ended = f.args[1]
		case sayDeleted:
			of(f.args[0]).deleted = true
		}
	}
	return all
}

// marked reports whether a line of a load over dm-log-writes gets a mark in the log. A mark for
// each would make the load slow.
func marked(n int) bool { return n%10 == 0 }

// What may be tried.
const (
	tryAccept  = "accept"
	tryBegin   = "begin"
	tryRequeue = "requeue"
	tryFinish  = "finish"
	tryDelete  = "delete"
)

func fatal(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "crash: "+format+"\n", args...)
	os.Exit(1)
}

// exitContradicted is the status when what is there contradicts the ledger.
const exitContradicted = 3

// contradiction is what a check found.
type contradiction struct{ error }

// fail ends the program with what went wrong.
func fail(err error) {
	fmt.Fprintf(os.Stderr, "crash: %v\n", err)
	var found contradiction
	var child *exec.ExitError
	if errors.As(err, &found) || errors.As(err, &child) && child.ExitCode() == exitContradicted {
		os.Exit(exitContradicted)
	}
	os.Exit(1)
}

// contradictions is the end of a check: nil when it found nothing.
func contradictions(found []error) error {
	if len(found) == 0 {
		return nil
	}
	if more := len(found) - 10; more > 0 {
		found = append(found[:10:10], fmt.Errorf("and %d more", more))
	}
	return contradiction{errors.Join(found...)}
}
