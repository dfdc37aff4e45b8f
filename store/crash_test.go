package store_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
)

// crashDir makes this test binary the writer that TestKilledWhileWriting kills.
const crashDir = "TSUBO_STORE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := writeUntilKilled(dir, os.Getenv(crashDir+"_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(fullDir); dir != "" {
		if err := fillSmallDisk(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	status := m.Run()
	if template.dir != "" {
		_ = os.RemoveAll(template.dir)
	}
	os.Exit(status)
}

// writeUntilKilled submits, starts, finishes and deletes, and prints a line for each acknowledged
// operation.
func writeUntilKilled(dir, round string) error {
	s, err := store.Open(context.Background(), store.Config{Dir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id)
	}
	ctx := context.Background()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := 0; ; n++ {
				rec := &job.Record{ID: fmt.Sprintf("r%s-w%d-%d", round, w, n), Caller: fmt.Sprint("uid:", w),
					Status: job.Queued, Async: true,
					IdempotencyKey: fmt.Sprintf("key-%s-%d-%d", round, w, n),
					Metadata:       map[string]string{"w": fmt.Sprint(w)}}
				if _, err := s.Accept(ctx, rec, &job.Request{Code: "print(1)"}); err != nil {
					panic(err)
				}
				say("accepted", rec.ID)
				if n%4 == 0 {
					continue
				}
				if err := s.Begin(ctx, rec.ID, 0, "worker", time.Now()); err != nil {
					panic(err)
				}
				say("begun", rec.ID)
				if n%4 == 1 {
					continue
				}
				rec.Status, rec.Stdout = job.Succeeded, strings.Repeat("x", n%5000)
				own := []byte(fmt.Sprintf("artifact %s %d", rec.ID, n))
				shared := []byte(fmt.Sprint("shared ", n%3))
				if err := s.Finish(ctx, rec,
					[]job.Artifact{{Name: "own", Data: own}, {Name: "shared", Data: shared}}); err != nil {
					panic(err)
				}
				say("finished", rec.ID)
				if n%4 == 2 {
					say("deleting", rec.ID)
					if err := s.Delete(ctx, rec.ID); err != nil {
						panic(err)
					}
					say("deleted", rec.ID)
				}
			}
		})
	}
	writers.Wait()
	return nil
}

// A process killed at any moment loses nothing that it acknowledged, and leaves a store without
// findings.
func TestKilledWhileWriting(t *testing.T) {
	dir := t.TempDir()
	state := map[string]string{} // by every ID ever named
	rounds := 10
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s_ROUND=%d", crashDir, round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		killAt := 30 + rand.IntN(250)
		for n := 0; lines.Scan(); n++ {
			what, id, ok := strings.Cut(lines.Text(), " ")
			if ok && id != "" {
				state[id] = what
			}
			if n == killAt {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the writer was not killed: %v", err)
		}
		verifySurvivors(t, dir, state)
	}
	t.Logf("%d rounds, %d jobs", rounds, len(state))
}

func verifySurvivors(t *testing.T, dir string, state map[string]string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatalf("open after a kill: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("check after a kill: %v", err)
	}
	for id, what := range state {
		rec, err := s.Get(t.Context(), id)
		if err != nil {
			if what != "deleted" && what != "deleting" {
				t.Errorf("%s was %s: %v", id, what, err)
			}
			continue
		}
		if what == "deleted" {
			t.Errorf("%s was deleted and is there", id)
		}
		if (what == "begun" && rec.Status == job.Queued) ||
			((what == "finished" || what == "deleting") && rec.Status != job.Succeeded) {
			t.Errorf("%s was %s and is %s", id, what, rec.Status)
		}
		for _, a := range rec.Artifacts {
			f, err := s.Open(t.Context(), a.SHA256)
			if err != nil {
				t.Errorf("%s: %v", id, err)
				continue
			}
			data, err := io.ReadAll(f)
			sum := sha256.Sum256(data)
			if err != nil || hex.EncodeToString(sum[:]) != a.SHA256 {
				t.Errorf("%s: artifact %s does not match: %v", id, a.SHA256, err)
			}
			_ = f.Close()
		}
	}
}
