package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
)

// kind is one way in which a job may end.
type kind struct {
	name     string
	share    int  // of 100
	enforced bool // only where leaves enforce limits
	run      func(ctx context.Context, s *soak) error
}

var kinds = []kind{
	{"short", 52, false, expecting("print('ok')", "default", 60, job.Succeeded, func(a *job.ExecuteAnswer) bool { return a.Stdout == "ok\n" })},
	{"failing", 8, false, expecting("raise SystemExit(3)", "default", 60, job.Failed, nil)},
	{"long", 6, false, expecting("import time\nend = time.monotonic() + 0.7\nwhile time.monotonic() < end: pass", "default", 60, job.Succeeded, nil)},
	{"artifact", 8, false, expecting("open('/output/a.bin', 'wb').write(b'x' * 100000)", "default", 60, job.Succeeded,
		func(a *job.ExecuteAnswer) bool { return len(a.Artifacts) == 1 })},
	{"flood", 5, false, expecting("import sys\nfor i in range(400): sys.stdout.write('x' * 10000)", "default", 60, job.Succeeded,
		func(a *job.ExecuteAnswer) bool { return a.StdoutTruncated })},
	{"children", 4, false, expecting("import subprocess\nfor i in range(5): subprocess.Popen(['sleep', '999'])", "default", 60, job.Succeeded, nil)},
	{"timeout", 4, false, expecting("while True: pass", "small", 1, job.Timeout, nil)},
	{"another memory limit", 3, false, odd},
	{"cancelled", 4, false, cancelled},
	{"hang-up", 3, false, hangUp},
	{"sentry killed", 1, false, killed},
	{"idle sandbox killed", 1, false, idleKilled},
	{"oom", 2, true, expecting("b = []\nwhile True: b.append(bytearray(8 << 20))", "small", 60, job.OOM, nil)},
}

// mix is the kind of the n-th job: by share, in an order that is the same every time. What cannot
// be had on this host is a short one.
func mix(n int, enforced bool) kind {
	random := rand.New(rand.NewPCG(uint64(n), 1)) //nolint:gosec // an order is no secret
	at := random.IntN(total())
	for _, k := range kinds {
		if at -= k.share; at >= 0 {
			continue
		}
		if k.enforced && !enforced {
			break
		}
		return k
	}
	return kinds[0]
}

func total() (sum int) {
	for _, k := range kinds {
		sum += k.share
	}
	return sum
}

func expecting(code, jobType string, timeout int64, want job.Status, also func(*job.ExecuteAnswer) bool) func(context.Context, *soak) error {
	return func(ctx context.Context, s *soak) error {
		a, err := s.client.Execute(ctx, client.Request{Code: code, JobType: jobType, Timeout: &timeout})
		return s.judge(a, err, want, also)
	}
}

// judge refuses an end that is not the expected one, unless a sandbox that was killed explains it:
// for each of those, one job may fail.
func (s *soak) judge(a *job.ExecuteAnswer, err error, want job.Status, also func(*job.ExecuteAnswer) bool) error {
	if err == nil && a.Status == want && (also == nil || also(a)) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("ended as %s (exit %v, %s), want %s", a.Status, show(a.ExitCode), show(a.Error), want)
	}
	if s.excuses.Add(-1) >= 0 {
		s.excused.Add(1)
		return nil
	}
	s.excuses.Add(1)
	return err
}

func show[T any](p *T) any {
	if p == nil {
		return "none"
	}
	return *p
}

// odd is a job of a size for which nothing waits.
func odd(ctx context.Context, s *soak) error {
	a, err := s.client.Execute(ctx, client.Request{Code: "pass", MemoryLimit: "100m"})
	return s.judge(a, err, job.Succeeded, nil)
}

// cancelled is a queued job that is cancelled once it runs.
func cancelled(ctx context.Context, s *soak) error {
	sent, err := s.client.Submit(ctx, client.Request{Code: "import time; time.sleep(100)"})
	if err != nil {
		return err
	}
	for {
		status, err := s.client.Status(ctx, sent.JobID)
		if err != nil {
			return err
		}
		if status.Status == job.Running || status.Status.Terminal() {
			break
		}
		pause(ctx, 10*time.Millisecond)
	}
	if err := s.client.Cancel(ctx, sent.JobID); err != nil {
		var told *client.Error
		if !errors.As(err, &told) || s.excuses.Load() == 0 { // it may have been killed first
			return err
		}
	}
	record, err := s.client.Result(ctx, sent.JobID)
	if err != nil {
		return err
	}
	return s.judge(&job.ExecuteAnswer{Status: record.Status, ExitCode: record.ExitCode}, nil, job.Cancelled, nil)
}

// hangUp leaves in the middle of a run.
func hangUp(ctx context.Context, s *soak) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	a, err := s.client.Execute(ctx, client.Request{Code: "import time; time.sleep(100)"})
	if err == nil {
		return s.judge(a, nil, job.Cancelled, nil)
	}
	if ctx.Err() == nil && !strings.Contains(err.Error(), "deadline") {
		return err
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
