package runsc

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A grandchild whose parent exits becomes ours and is reaped. A child that another goroutine waits
// for is not touched.
func TestCollectOrphans(t *testing.T) {
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	stop := CollectOrphans()
	defer stop()

	out, err := exec.Command("/bin/sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	late := exec.Command("/bin/sh", "-c", "exit 7")
	if err := late.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan int)
	go func() {
		_ = late.Wait()
		waited <- late.ProcessState.ExitCode()
	}()
	if code := <-waited; code != 7 {
		t.Errorf("our own child ended with %d", code)
	}
	seen := false
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		zombie := slices.Contains(zombieChildren(), orphan)
		seen = seen || zombie
		if seen && !zombie {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("orphan %d: seen as a zombie %v, and still there", orphan, seen)
		}
	}
	stop()
	stop()
}
