// Package hostile holds a real tsubod against callers who want its memory.
package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

const (
	maxRSS  = 128 << 20
	bound   = 4 * time.Minute // of the whole test
	perKind = 125             // connections; four kinds
)

// TestMemory opens 500 hostile connections. A quarter send bodies to /health, a quarter send large
// bodies to /execute and do not end them, a quarter send half a request, and a quarter do not read
// their answers with inline artifacts of 8 MiB.
func TestMemory(t *testing.T) {
	need.Root(t)
	bin := binaries(t)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	dir, err := os.MkdirTemp("/var/lib", "tsubo-hostile-") // root alone makes names there
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := tsubod.Start(ctx, tsubod.Options{
		Name: "d", Bin: bin + "/tsubod", Init: bin + "/tsubo-init", Runsc: bin + "/runsc", Images: filepath.Dir(bin) + "/images/python",
		Dir: dir, Strict: tsubod.CanEnforce(),
		Config: "max_workers: 2\nmax_queue_size: 200\nserver_host: 127.0.0.1\nserver_port: " + port(t) + "\nallow_unauthenticated_loopback: true\napi_rate_limit_enabled: false\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", d.PID()))
	if err != nil || mayLowerScore() && strings.TrimSpace(string(score)) != "-500" {
		t.Errorf("oom_score_adj %q, %v", score, err)
	}
	if cgroup := d.JobsCgroup(); cgroup != "" {
		most, err := os.ReadFile(filepath.Join(filepath.Dir(cgroup), "daemon", "memory.max"))
		if err != nil || strings.TrimSpace(string(most)) == "max" {
			t.Errorf("memory.max of the daemon's leaf: %q, %v", most, err)
		}
	}

	const inline = `{"code":"open('/output/a','wb').write(b'x' * (8 << 20))","artifacts":"inline","timeout":60,"startup_timeout":600}`
	body := bytes.Repeat([]byte("a"), 2<<20-1)
	kinds := []struct{ head, body string }{
		{fmt.Sprintf("POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body)+1), string(body)},
		{fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body)+1), string(body)},
		{"POST /execute HTTP/1.1\r\nHost: x\r\nX-Half: ", strings.Repeat("b", 60<<10)},
		{fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(inline)), inline},
	}
	answered := make(chan bool, perKind)
	for range perKind {
		for k, kind := range kinds {
			c, err := net.Dial("unix", d.Socket)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(bound)); err != nil {
				t.Fatal(err)
			}
			last := k == len(kinds)-1
			go func() {
				_, _ = io.WriteString(c, kind.head)
				_, _ = io.WriteString(c, kind.body) // a refusal may come first
				if last {
					first := make([]byte, 12)
					_, err := io.ReadFull(c, first) // and no more
					answered <- err == nil && string(first) == "HTTP/1.1 200"
				}
			}()
		}
	}
	// Unread answers: enough of them to hold the old daemon's memory many times over.
	most, unread := int64(0), 0
	for deadline := time.Now().Add(90 * time.Second); unread < 24 && time.Now().Before(deadline); {
		select {
		case ok := <-answered:
			if ok {
				unread++
			}
		case <-time.After(100 * time.Millisecond):
		}
		most = max(most, rss(t, d.PID()))
	}
	c := client.New(d.Socket)
	defer c.Close()
	if _, err := c.Health(ctx); err != nil {
		t.Errorf("the daemon does not answer: %v", err)
	}
	t.Logf("RSS at most %d MiB with %d unread answers", most>>20, unread)
	if most > maxRSS {
		t.Errorf("RSS %d bytes, want at most %d", most, maxRSS)
	}
	if unread == 0 {
		t.Error("no answer with inline artifacts has begun")
	}
}

// binaries is the directory of the built binaries, $TSUBO_HOSTILE_BIN (tests/host), root's and
// nobody else's to write to.
func binaries(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("TSUBO_HOSTILE_BIN")
	need.That(t, "tsubod", bin != "")
	return bin
}

// mayLowerScore reports whether this host lets root lower an oom_score_adj; a container may not.
func mayLowerScore() bool {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil || os.WriteFile(own, []byte("-500"), 0) != nil {
		return false
	}
	return os.WriteFile(own, bytes.TrimSpace(before), 0) == nil
}

// port is one that is free now.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// rss of a process in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
