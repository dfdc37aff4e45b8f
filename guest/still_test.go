package guest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// While init works, no other thread of its runtime runs. With the monitor thread alive there are
// thousands of context switches here.
func TestNothingDisturbsInit(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the monitor thread is ended on amd64 only")
	}
	here(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		before := switches(t, s.Pid())
		s.Give(guesttest.Job{
			Code: "import os, time\nfor i in range(300): os.write(1, b'x' * 5000); time.sleep(0.001)\n" +
				"os.write(1, b'end\\n')\ntime.sleep(1000)\n",
		})
		s.Send(frames.Go{})
		for out := ""; !strings.HasSuffix(out, "end\n"); {
			m, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if b, ok := m.(frames.Stdout); ok {
				out += string(b)
			}
		}
		if n := switches(t, s.Pid()) - before; n > 50 {
			t.Errorf("%d switches of threads that have nothing to do", n)
		}
	})
}

// SIGCHLD goes to the thread that waits for it. If another thread took the signal, init would
// notice a child's exit only at its next poll (reapMS).
func TestNoOtherThreadHears(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("on amd64 only")
	}
	here(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		s.Give(
			guesttest.Job{Code: "import os, time\nfor i in range(300): os.write(1, b'x' * 5000); time.sleep(0.001)\n"},
		)
		s.Send(frames.Go{})
		for ended := false; !ended; {
			m, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			_, ended = m.(frames.Exit)
		}
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.Pid()))
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			blocked, err := strconv.ParseUint(sigBlk.FindStringSubmatch(string(b))[1], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			if first := strings.Contains(f, fmt.Sprintf("/task/%d/", s.Pid())); !first &&
				blocked>>(syscall.SIGCHLD-1)&1 == 0 {
				t.Errorf("%s takes SIGCHLD: %x blocked", f, blocked)
			}
		}
	})
}

var sigBlk = regexp.MustCompile(`(?m)^SigBlk:\s*([0-9a-f]+)$`)

var voluntary = regexp.MustCompile(`(?m)^voluntary_ctxt_switches:\s*(\d+)$`)

// switches counts how often threads other than the first have waited.
func switches(t *testing.T, pid int) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if strings.Contains(f, fmt.Sprintf("/task/%d/", pid)) {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			continue // has exited
		}
		k, err := strconv.Atoi(voluntary.FindStringSubmatch(string(b))[1])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	return n
}

// The runtime also collects garbage without its monitor thread. This input makes init's heap grow
// through many collections.
func TestMuchInput(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		const size = 48 << 20
		r := run(t, o, guesttest.Job{
			Code:  "import sys\nprint(len(sys.stdin.buffer.read()))\nsys.stdout.write('y' * 3000000)",
			Stdin: strings.Repeat("x", size),
		})
		if want := strconv.Itoa(size) + "\n" + strings.Repeat("y", 3000000); r.Stdout != want || r.Status() != 0 {
			t.Errorf("%d bytes of output, status %d", len(r.Stdout), r.Status())
		}
	})
}
