package guest_test

import (
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

func TestOutputOverTheCapIsDrainedAndCounted(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{Code: `
import os, threading
def flood(fd):
    for _ in range(64): os.write(fd, b"y" * 65536)
ts = [threading.Thread(target=flood, args=(fd,)) for fd in (1, 2)]
for th in ts: th.start()
for th in ts: th.join()
open("/output/alive", "w").write("1")
`, Caps: &frames.Caps{Stdout: 1000, Stderr: 0, Artifact: 10, ArtifactsTotal: 10, Artifacts: 10}})
		if r.Status() != 0 || r.Stdout != strings.Repeat("y", 1001) || r.Stderr != "y" || r.Artifacts["alive"] != "1" ||
			r.Done.StdoutTotal != 4<<20 || r.Done.StderrTotal != 4<<20 {
			t.Errorf("status %d, %d and %d bytes, %+v", r.Status(), len(r.Stdout), len(r.Stderr), r.Done)
		}
	})
}

func TestOutputIsWholeAndInOrder(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{
			Code: "import sys\nfor i in range(20000): sys.stdout.write(f'{i}\\n')\n" +
				"sys.stdout.buffer.write(bytes(range(256)))\n",
		})
		var want strings.Builder
		for i := range 20000 {
			want.WriteString(itoa(i) + "\n")
		}
		for i := range 256 {
			want.WriteByte(byte(i))
		}
		if r.Stdout != want.String() {
			t.Errorf("%d bytes, want %d", len(r.Stdout), want.Len())
		}
		if int64(len(r.Stdout)) != r.Done.StdoutTotal {
			t.Errorf("total %d", r.Done.StdoutTotal)
		}
		t.Logf("%d frames for 20000 writes", r.Frames)
	})
}

func itoa(i int) string {
	s := ""
	for {
		s = string(rune('0'+i%10)) + s
		if i /= 10; i == 0 {
			return s
		}
	}
}

func TestStdin(t *testing.T) {
	big := strings.Repeat("0123456789abcde\n", 1<<16)
	for name, tt := range map[string]struct{ code, stdin, want string }{
		"none":           {"import sys; print(repr(sys.stdin.read()))", "", "''\n"},
		"a line":         {"print(input(), input())", "a\nb\n", "a b\n"},
		"more than fits": {"import sys, time; time.sleep(0.1); print(len(sys.stdin.read()))", big, "1048576\n"},
		"not wanted":     {"import os; os.close(0); print('done')", big, "done\n"},
		"echo":           {"import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)", big, big},
	} {
		t.Run(name, func(t *testing.T) {
			kernels(t, func(t *testing.T, o guesttest.Options) {
				r := run(t, o, guesttest.Job{Code: tt.code, Stdin: tt.stdin})
				if r.Status() != 0 || r.Stdout != tt.want {
					t.Errorf("status %d, %d bytes of stdout, stderr %q", r.Status(), len(r.Stdout), r.Stderr)
				}
			})
		})
	}
}

// The output of a program that pauses is forwarded at once, not when the program exits.
func TestOutputIsLive(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{Code: "import time\nprint('first')\ntime.sleep(1000)", StopAt: "first\n"})
		if r.Stdout != "first\n" || r.Status() != 137 {
			t.Errorf("%+v", r)
		}
	})
}

// A write end of the job's stdout in an unreachable socket keeps the pipe open forever.
func TestLostDescriptorDoesNotDelayTheEnd(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import os, socket
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [1, 2, a.fileno(), b.fileno()])
print("bye")
os._exit(0)
`)
		if out != "bye\n" {
			t.Error(out)
		}
	})
}

// The last bytes of a stderr over its cap are kept, because the exception's line is there.
func TestEndOfStderrIsKept(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{
			Code: "import sys\nfor i in range(30000): sys.stderr.write('line %d\\n' % i)\n1/0\n",
			Caps: &frames.Caps{Stdout: 1000, Stderr: 1000},
		})
		if len(r.Stderr) != 1000+frames.OutputSlack || len(r.Done.StderrTail) != frames.MaxTail ||
			!strings.HasSuffix(r.Done.StderrTail,
				"ZeroDivisionError: division by zero\n") {
			t.Errorf("%d bytes of stderr, tail %q", len(r.Stderr), r.Done.StderrTail)
		}
		r = run(t, o, guesttest.Job{
			Code: "import sys\nsys.stderr.write('x' * 1000)",
			Caps: &frames.Caps{Stdout: 1000, Stderr: 1000},
		})
		if r.Done.StderrTail != "" || len(r.Stderr) != 1000 {
			t.Errorf("everything was forwarded, but the tail is %q", r.Done.StderrTail)
		}
	})
}
