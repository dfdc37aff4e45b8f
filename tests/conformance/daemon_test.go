package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
)

// Bounds against hanging; the VM is emulated.
const (
	startBound = 5 * time.Minute
	jobSeconds = 120
)

// cap of stdout and stderr in the default configuration.
const outputCap = 64 << 10

// TestDaemon compares a plain interpreter in the image's root with POST /execute: all programs with
// TSUBO_FULL=1, else the first variants of each kind.
func TestDaemon(t *testing.T) {
	need.Root(t)
	d := connect(t)
	for _, l := range []language{python, node} {
		t.Run(l.name, func(t *testing.T) {
			if !d.has(l.name) || !d.has(sharedType) {
				t.Skipf("the daemon of TSUBO_SOCKET has no job types %s and %s", l.name, sharedType)
			}
			n := newNative(t, l)
			// The group returns when its parallel tests have ended, and before anything is taken
			// down.
			t.Run("programs", func(t *testing.T) { d.compare(t, n, l) })
		})
	}
}

func (d *daemon) compare(t *testing.T, n *native, l language) {
	ran := map[string]int{}
	for _, p := range l.programs(t) {
		everyday := l.everyday
		if p.shared() {
			everyday = 2 // each starts many interpreters
		}
		if ran[p.kind()]++; ran[p.kind()] > everyday && os.Getenv("TSUBO_FULL") != "1" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			want := n.run(t, p)
			want.stdout, _ = job.Text([]byte(want.stdout), int64(len(want.stdout)), outputCap)
			want.stderr, _ = job.Text([]byte(want.stderr), int64(len(want.stderr)), outputCap)
			differ(t, d.run(t, p), want)
		})
	}
}

// daemon is a tsubod that serves.
type daemon struct {
	client *http.Client
	types  []string
}

func (d *daemon) has(jobType string) bool { return slices.Contains(d.types, jobType) }

// sharedType is a job type with shared memory.
const sharedType = "shared"

// configuration of the daemon: the defaults, the image that the VM keeps apart, and the job types
// of the languages.
const configuration = `
images: {preload_dirs: [/opt/tsubo/images, /opt/tsubo/more-images]}
job_types:
  - {name: python}
  - {name: node, language: node}
  - {name: ` + sharedType + `, shared_memory: 64m}
`

// strict reports whether a daemon can be started on this host with its defaults.
func strict() bool {
	_, bin := exec.LookPath("tsubod")
	_, cgroup2 := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return bin == nil && cgroup2 == nil
}

// served reports whether TestDaemon has a daemon here.
func served() bool { return os.Getenv("TSUBO_SOCKET") != "" || strict() || need.Promised("tsubod") }

// permissive is the configuration on a host that cannot enforce limits, with everything of the
// daemon's below dir.
func permissive(t *testing.T, dir string) string {
	t.Helper()
	path := os.Getenv("TSUBO_INIT")
	images := filepath.Dir(python.layout(t))
	return fmt.Sprintf(`
security_mode: permissive
run_dir: %s/run
data_dir: %[1]s/data
runsc_path: %s
init_path: %s
`, dir, need.Runsc(t), path) + strings.Replace(configuration, "/opt/tsubo/images, /opt/tsubo/more-images", images, 1)
}

// connect uses the daemon of $TSUBO_SOCKET, or starts one: where this host can enforce its limits
// with the defaults, else in permissive mode where TSUBO_REQUIRE promises a tsubod.
func connect(t *testing.T) *daemon {
	t.Helper()
	socket := os.Getenv("TSUBO_SOCKET")
	if socket == "" {
		need.That(t, "cgroup2", served())
		dir := need.RootDir(t)
		file := filepath.Join(dir, "tsubo.yaml")
		text := configuration
		socket = "/run/tsubo/tsubo.sock"
		if !strict() {
			text, socket = permissive(t, dir), dir+"/run/tsubo.sock"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("tsubod", "--config", file)
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil || t.Failed() {
				t.Logf("tsubod: %v\n%s", err, log.String())
			}
		})
	}
	d := &daemon{client: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}}
	for deadline := time.Now().Add(startBound); ; time.Sleep(50 * time.Millisecond) {
		resp, err := d.client.Get("http://tsubo/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				d.askTypes(t)
				return d
			}
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no healthy tsubod on %s: %v", socket, err)
		}
	}
}

func (d *daemon) askTypes(t *testing.T) {
	t.Helper()
	resp, err := d.client.Get("http://tsubo/job-types")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []struct{ Name string }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		d.types = append(d.types, e.Name)
	}
}

func (d *daemon) run(t *testing.T, p program) outcome {
	t.Helper()
	jobType := p.language.name
	if p.shared() {
		jobType = sharedType
	}
	request := map[string]any{"code": p.code, "timeout": jobSeconds, "job_type": jobType}
	if len(p.args) > 0 {
		request["args"] = p.args
	}
	if p.stdin != "" {
		request["stdin"] = p.stdin
	}
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := d.client.Post("http://tsubo/execute", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a job.ExecuteAnswer
	if err := json.Unmarshal(b, &a); err != nil || resp.StatusCode != http.StatusOK || a.ExitCode == nil {
		t.Fatalf("status %d: %v: %s", resp.StatusCode, err, b)
	}
	return outcome{a.Stdout, a.Stderr, *a.ExitCode}
}
