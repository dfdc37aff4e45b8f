package sandbox

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestStuckBoot stops the processes of a boot. The boot is abandoned without leftovers, and the
// retry succeeds.
func TestStuckBoot(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	var log bytes.Buffer
	h.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithTimeout(t.Context(), stuckShare*(stuckLeast+time.Second))
	defer cancel()
	var stopped atomic.Int32
	go func() {
		for ctx.Err() == nil && stopped.Load() == 0 {
			time.Sleep(time.Millisecond)
			boxes, _ := os.ReadDir(h.Dir)
			for _, box := range boxes {
				pids, _ := h.Runsc.Processes(filepath.Join(h.Dir, box.Name()))
				for _, pid := range pids {
					if syscall.Kill(pid, syscall.SIGSTOP) == nil {
						stopped.Add(1)
					}
				}
			}
		}
	}()
	s, err := h.Boot(ctx, shape)
	if err != nil {
		t.Fatal(err)
	}
	if stopped.Load() == 0 {
		t.Error("no process was stopped: the boot ended too soon")
	}
	if n := strings.Count(log.String(), "boot is stuck"); n != 1 || !strings.Contains(log.String(), "do_signal_stop") {
		t.Errorf("%d boots were stuck: %s", n, log.String())
	}
	if err := s.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPatience(t *testing.T) {
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	for _, tt := range []struct {
		name  string
		ctx   context.Context
		shape Shape
		want  time.Duration // rounded up to seconds
	}{
		{"no deadline", t.Context(), Shape{}, stuckAfter},
		{"a far one", within(time.Hour), Shape{}, stuckAfter},
		{"a third of a minute", within(time.Minute), Shape{}, 20 * time.Second},
		{"too little for two", within(20 * time.Second), Shape{}, 0},
		{"a preload", within(time.Hour), Shape{Preload: []string{"json"}}, 0},
	} {
		if got := patience(tt.ctx, tt.shape); (got + time.Second - 1).Truncate(time.Second) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
