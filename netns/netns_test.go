package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func inode(t testing.TB, f *os.File) uint64 {
	t.Helper()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

func current() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func newNS(t testing.TB) *NS {
	t.Helper()
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNewIsEmptyAndItsOwn(t *testing.T) {
	need.Root(t)
	a, b := newNS(t), newNS(t)
	if inode(t, a.File()) == inode(t, b.File()) {
		t.Error("two namespaces are the same")
	}
	if err := a.Check(); err != nil {
		t.Error(err)
	}
	if fl, err := unix.FcntlInt(a.File().Fd(), unix.F_GETFD, 0); err != nil || fl&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v: the namespace would leak into children", fl, err)
	}
}

func TestCloseRemoves(t *testing.T) {
	need.Root(t)
	n := newNS(t)
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", n.File().Fd())) // a second pin, for inspection
	if err != nil {
		t.Fatal(err)
	}
	ino := inode(t, f)
	if v := visible(t); !slices.Contains(v, ino) {
		t.Fatalf("%d is not among the visible %v", ino, v)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if held := holders(t, ino); held != 1 {
		t.Errorf("%d descriptors hold a closed namespace, besides this test's one", held-1)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n.File() != nil {
		t.Error("a closed NS has a file")
	}
	if err := n.Do(func() error { t.Error("ran"); return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close = %v", err)
	}
}

// holders counts this process's descriptors of a namespace.
func holders(t *testing.T, ino uint64) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == fmt.Sprintf("net:[%d]", ino) {
			n++
		}
	}
	return n
}

func visible(t testing.TB) []uint64 {
	t.Helper()
	v, err := Visible()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDoStartsProcessesInside(t *testing.T) {
	need.Root(t)
	n := newNS(t)
	var inside string
	var out bytes.Buffer
	cmd := exec.Command("/bin/readlink", "/proc/self/ns/net")
	cmd.Stdout = &out
	boom := errors.New("boom")
	err := n.Do(func() (err error) {
		if inside, err = current(); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("Do = %v", err)
	}
	if err := cmd.Wait(); err != nil { // the command outlived the thread that started it
		t.Fatal(err)
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != inside || got != link {
		t.Errorf("the process was in %s, the function in %s, the file is %s", got, inside, link)
	}
}

// Goroutines that run beside Do, or start inside, must never be in a namespace, and no thread may
// remain there.
func TestThreadsNeverLeak(t *testing.T) {
	need.Root(t)
	home, err := current()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var watchers sync.WaitGroup
	for range 8 {
		watchers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if ns, err := current(); err != nil || ns != home {
					t.Errorf("a goroutine is in %s, %v; home is %s", ns, err, home)
					return
				}
				runtime.Gosched()
			}
		})
	}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 25 {
				n, err := New()
				if err != nil {
					t.Error(err)
					return
				}
				var started sync.WaitGroup
				err = n.Do(func() error {
					for range 4 { // make the runtime start threads while this thread is inside
						started.Go(func() {
							if ns, err := current(); err != nil || ns != home {
								t.Errorf("a goroutine started inside is in %s, %v", ns, err)
							}
						})
					}
					ns, err := current()
					if err == nil && ns == home {
						err = errors.New("the function runs at home")
					}
					return err
				})
				started.Wait()
				if err := errors.Join(err, n.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	watchers.Wait()

	// The threads exit just after their goroutines; the kernel sets the pace.
	var strays []string
	for range 200 {
		strays = strays[:0]
		tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if ns, err := os.Readlink(task); err == nil && ns != home {
				strays = append(strays, task+" "+ns)
			}
		}
		if len(strays) == 0 {
			return
		}
		runtime.Gosched()
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 10e6}, nil)
	}
	t.Errorf("threads left in other namespaces: %v", strays)
}

// The main thread appears in /proc/PID and cannot exit, so it must never enter a namespace.
func TestMainThreadStaysHome(t *testing.T) {
	need.Root(t)
	home, err := current()
	if err != nil {
		t.Fatal(err)
	}
	n := newNS(t)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			err := n.Do(func() error {
				if unix.Gettid() == os.Getpid() {
					return errors.New("inside on the main thread")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ns, err := os.Readlink("/proc/self/ns/net"); err != nil || ns != home {
		t.Errorf("the process is in %s, %v; home is %s", ns, err, home)
	}
}

func TestDoSurvivesGoexit(t *testing.T) {
	need.Root(t)
	if err := newNS(t).Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error for a function that never returned")
	}
}

func TestCheckTypeRefusesOthers(t *testing.T) {
	for _, path := range []string{"/proc/self/ns/mnt", "/proc/self/status"} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkType(f); err == nil {
			t.Errorf("%s passes for a network namespace", path)
		}
		_ = f.Close()
	}
}

func TestStock(t *testing.T) {
	need.Root(t)
	ctx := context.Background()
	s := NewStock(3)
	seen := make(map[uint64]bool)
	for range 10 {
		n, err := s.Take(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ino := inode(t, n.File())
		if seen[ino] {
			t.Errorf("namespace %d was handed out twice", ino)
		}
		seen[ino] = true
		defer n.Close()
	}
	cancelled, cancel := context.WithCancelCause(ctx)
	cause := errors.New("cause")
	cancel(cause)
	if n, err := s.Take(cancelled); !errors.Is(err, cause) {
		t.Errorf("Take = %v, %v", n, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Take(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Take after Close = %v, %v", n, err)
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "net:[") {
			var ino uint64
			if _, err := fmt.Sscanf(target, "net:[%d]", &ino); err != nil || !seen[ino] {
				t.Errorf("%s is left open, and nobody has taken it", target)
			}
			delete(seen, ino)
		}
	}
	if len(seen) != 0 {
		t.Errorf("taken and no longer open: %v", seen)
	}
}

func TestStockClosesUnderLoad(t *testing.T) {
	need.Root(t)
	for range 5 {
		s := NewStock(4)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					n, err := s.Take(context.Background())
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					_ = n.Close()
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if len(s.ready) != 0 {
			t.Errorf("%d namespaces are left in a closed stock", len(s.ready))
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		n, err := New()
		if err != nil {
			b.Fatal(err)
		}
		_ = n.Close()
	}
}
