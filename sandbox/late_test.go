package sandbox

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// late leaves children in a system call that ignores signals for many seconds: getrandom of 2 GiB
// into a small file that is mapped many times.
const late = `
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.syscall.restype = ctypes.c_long
window, total = 512 << 10, (1 << 31) - 4096
f = os.open("/tmp/w", os.O_RDWR | os.O_CREAT)
os.ftruncate(f, window)
base = libc.mmap(None, total + window, 0, 0x4022, -1, 0)
for off in range(0, total, window):
    assert libc.mmap(base + off, window, 3, 0x11, f, 0) == base + off, ctypes.get_errno()
for _ in range(2):
    if os.fork() == 0:
        while True:
            os.write(1, b".")
            libc.syscall(ctypes.c_long(318), ctypes.c_void_p(base), ctypes.c_long(total - 4096), ctypes.c_long(0))
open("/output/a", "w").write("x")
time.sleep(1)
print("done")
os._exit(%d)
`

// A child that dies late is neither the program's failure nor tsubo's. The program keeps its exit
// status and its output, and the rest of the sandbox is killed before the result is returned.
func TestLateChild(t *testing.T) {
	h, w := realHost(t)
	shape := pythonShape(t, w)
	// The children may write a dot after the program's last line: the job runs until they are
	// killed.
	for code, want := range map[int]job.Status{0: job.Succeeded, 3: job.Failed} {
		s := boot(t, tiers["cold"], h, shape)
		spec := pythonSpec(fmt.Sprintf(late, code))
		res, err := s.Run(t.Context(), spec, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != want || res.ExitCode == nil || *res.ExitCode != code ||
			!strings.Contains(res.Stdout, "done\n") {
			t.Errorf("exit %d: status %s, exit code %v, stdout %q, stderr %q, error %+v", code, res.Status,
				*res.ExitCode, res.Stdout, res.Stderr, res.Error)
		}
		if len(res.Artifacts) != 0 || !strings.Contains(res.ArtifactsNote, "could not be ended in time") {
			t.Errorf("exit %d: artifacts %v, note %q", code, res.Artifacts, res.ArtifactsNote)
		}
		for _, pid := range s.pids {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && !strings.Contains(string(stat), ") Z ") {
				t.Errorf("exit %d: process %d of the sandbox outlives the result", code, pid)
			}
		}
		t.Logf("total %v ms, execution %v ms", *res.Timing.TotalMS, *res.Timing.ExecutionMS)
	}
}
