package sandbox

import (
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// An allocation that can never succeed is refused, so that a program can catch MemoryError.
// Reservations are not refused.
func TestAddressSpace(t *testing.T) {
	h, w := realHost(t)
	for name, by := range tiers {
		s := boot(t, by, h, pythonShape(t, w))
		res, err := s.Run(t.Context(), pythonSpec(`
import mmap, threading
for make in (lambda: b"x" * (1 << 45), lambda: bytearray(64 << 30), lambda: [0] * (1 << 40)):
    try:
        make()
        print("allocated")
    except MemoryError:
        print("refused")
try:
    mmap.mmap(-1, 1 << 45)
    print("mapped")
except (MemoryError, OSError):
    print("refused")
reserved = mmap.mmap(-1, 512 << 20)
reserved[0] = reserved[-1] = 1
array = bytearray(100 << 20)
barrier = threading.Barrier(20)
def work():
    kept = [bytes(100000) for _ in range(10)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(20)]
for t in threads: t.start()
for t in threads: t.join()
print(len(threads), "threads")
`), time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != job.Succeeded || res.Stdout != "refused\nrefused\nrefused\nrefused\n20 threads\n" {
			t.Errorf("%s: %s %+v\n%s%s", name, res.Status, res.Error, res.Stdout, res.Stderr)
		}
	}
}

// Only Python has the limit: V8 and others reserve many times what they use.
func TestAddressSpaceOf(t *testing.T) {
	small, big := realLimits(), realLimits()
	big.Memory *= 4
	if a, b := addressSpace(job.Python, small), addressSpace(job.Python, big); a <= small.Memory ||
		b-a != big.Memory-small.Memory {
		t.Errorf("%d for %d, %d for %d bytes of memory", a, small.Memory, b, big.Memory)
	}
	for _, l := range []job.Language{job.Node, job.Command} {
		if n := addressSpace(l, small); n != 0 {
			t.Errorf("%s: %d", l, n)
		}
	}
}
