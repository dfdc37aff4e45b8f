package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// TestNothingIsLeft runs jobs that end in every way, several at a time, and then counts what the
// daemon holds on the host. TSUBO_JOBS is how many, at least ten of each kind (default 60).
func TestNothingIsLeft(t *testing.T) {
	total := 60
	if n, err := strconv.Atoi(os.Getenv("TSUBO_JOBS")); err == nil {
		total = n
	}
	shared.run(t, map[string]any{"code": "pass"}) // whatever is made once is made now
	before := shared.state(t)
	var ended sync.Map
	count := func(kind string) {
		n, _ := ended.LoadOrStore(kind, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	kinds := []func() (string, error){
		func() (string, error) { return shared.expect(`print("ok")`, "default", 60, job.Succeeded) },
		func() (string, error) { return shared.expect("raise SystemExit(3)", "default", 60, job.Failed) },
		func() (string, error) { return shared.expect("while True: pass", "small", 1, job.Timeout) },
		func() (string, error) {
			return shared.expect("b=[]\nwhile True: b.append(bytearray(8<<20))", "small", 120, job.OOM)
		},
		shared.hangUp,
	}
	var wg sync.WaitGroup
	work := make(chan int)
	for range 3 {
		wg.Go(func() {
			for i := range work {
				kind, err := kinds[i%len(kinds)]()
				if err != nil {
					t.Error(err)
				}
				count(kind)
			}
		})
	}
	killed := max(10, total/20)
	for i := range total - killed {
		work <- i
	}
	close(work)
	wg.Wait()
	for range killed {
		if err := shared.killSentry(); err != nil {
			t.Error(err)
		}
		// One that works in between: five failed launches in a row would open the launch breaker.
		if _, err := shared.expect("pass", "default", 60, job.Succeeded); err != nil {
			t.Error(err)
		}
		count("sentry killed")
	}
	shared.nothingLeft(t, before)
	ended.Range(func(kind, n any) bool {
		t.Logf("%4d ended by %s", n.(*atomic.Int64).Load(), kind)
		return true
	})
}

func (d *daemon) expect(code, jobType string, timeout int, want job.Status) (string, error) {
	status, body, err := d.execute(context.Background(), map[string]any{"code": code, "job_type": jobType, "timeout": timeout})
	if err != nil {
		return "", err
	}
	var a job.ExecuteAnswer
	if err := json.Unmarshal(body, &a); err != nil || status != 200 || a.Status != want {
		return "", fmt.Errorf("%q: HTTP %d %s, want %s", code, status, body, want)
	}
	return string(want), nil
}

// hangUp leaves in the middle of a run.
func (d *daemon) hangUp() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, body, err := d.execute(ctx, map[string]any{"code": "import time; time.sleep(999)", "timeout": 200})
	if err == nil {
		return "", fmt.Errorf("a run of 999 s has ended: %s", body)
	}
	return "hang-up", nil
}

// killSentry runs a job alone and kills its sandbox process whenever the job's own limits are in
// force: a kill before the code's first byte is a launch that failed, and is tried again.
func (d *daemon) killSentry() error {
	answer := make(chan error, 1)
	go func() {
		status, body, err := d.execute(context.Background(), map[string]any{"code": "import time; time.sleep(999)", "timeout": 250})
		var a job.ExecuteAnswer
		switch {
		case err != nil:
		case json.Unmarshal(body, &a) != nil || status != 200 || a.Status != job.Failed || *a.ExitCode != -1:
			err = fmt.Errorf("sandbox process killed: HTTP %d %s, want failed, -1", status, body)
		}
		answer <- err
	}()
	killed := false
	for deadline := time.Now().Add(4 * slack * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-answer:
			if !killed {
				return fmt.Errorf("the job has ended before its sandbox process was killed: %w", err)
			}
			return err
		default:
		}
		leaves, _ := filepath.Glob(d.where.JobsPath + "/*/memory.max")
		for _, file := range leaves {
			limit, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(limit)) != strconv.Itoa((512+64)<<20) {
				continue // still booting
			}
			pid, err := sentryOf(filepath.Dir(file))
			if err != nil {
				continue // it is ending
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			killed = true
		}
	}
	return fmt.Errorf("no end of a killed job (killed: %v)", killed)
}

// sentryOf is the sandbox process in a leaf: the one whose parent is outside of it. The others are
// its stubs, which run the job's threads.
func sentryOf(leaf string) (int, error) {
	procs, err := os.ReadFile(filepath.Join(leaf, "cgroup.procs"))
	if err != nil {
		return 0, err
	}
	inside := strings.Fields(string(procs))
	for _, word := range inside {
		stat, err := os.ReadFile("/proc/" + word + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && !slices.Contains(inside, fields[1]) {
			return strconv.Atoi(word)
		}
	}
	return 0, fmt.Errorf("no sandbox process in %s", leaf)
}
