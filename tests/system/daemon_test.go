// Package system drives the real binaries as their users do: a tsubod of its own, over its socket,
// on a host that can enforce everything. It is compiled with `go test -c` and run as root in the VM
// (tests/vm/run).
package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/hoststate"
)

// slack multiplies every bound against hanging: the VM is emulated.
const slack = 20

// shared is the daemon that tests use which do not need their own.
var shared *daemon

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if why := unfit(); why != "" {
		if strings.Contains(os.Getenv("TSUBO_REQUIRE"), "cgroup2") {
			fmt.Fprintln(os.Stderr, "system tests are required here, but", why)
			return 1
		}
		fmt.Println("skipped:", why)
		return 0
	}
	dir, err := os.MkdirTemp("/run", "tsubo-system-") // nobody else can write above it
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	stop := watchImageLeaves("/sys/fs/cgroup/tsubo-shared/jobs")
	shared, err = startDaemon(dir, "shared", "")
	imageLeaves = stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start tsubod:", err)
		return 1
	}
	status := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop tsubod:", err)
		status = 1
	}
	return status
}

// imageLeaves are the values of memory.max of the leaves that images had while the first daemon
// imported its own.
var imageLeaves []string

// watchImageLeaves looks for such leaves until it is stopped.
func watchImageLeaves(jobs string) (stop func() []string) {
	quit, done := make(chan struct{}), make(chan []string)
	go func() {
		var seen []string
		for {
			found, _ := filepath.Glob(jobs + "/image-*/memory.max")
			for _, path := range found {
				procs, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup.procs"))
				most, err2 := os.ReadFile(path)
				if err == nil && err2 == nil && len(procs) > 0 {
					seen = append(seen, strings.TrimSpace(string(most)))
				}
			}
			select {
			case <-quit:
				done <- seen
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() []string { close(quit); return <-done }
}

// unfit reports why this host cannot run the tests, "" when it can.
func unfit() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	control, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control")
	if err != nil || !strings.Contains(string(control), "memory") {
		return "no cgroup v2 with the memory controller"
	}
	for _, bin := range []string{"tsubod", "tsubo", "runsc"} {
		if _, err := exec.LookPath(bin); err != nil {
			return bin + " is not on PATH"
		}
	}
	return ""
}

type daemon struct {
	cmd    *exec.Cmd
	log    *os.File
	dir    string
	socket string
	where  hoststate.Where
	client *http.Client
	exited chan error
}

// writeConfig writes the configuration of a daemon with state of its own and returns its path.
func writeConfig(dir, name, extra string) (string, error) {
	if !strings.Contains(extra, "pool_") {
		extra += "\npool_enabled: false" // what is counted before and after must not change by itself
	}
	// The small job type is for programs that use up their memory: touching it is what takes long
	// under emulation.
	text := fmt.Sprintf(`data_dir: %s/data
run_dir: /run/tsubo-%s
cgroup_parent: /tsubo-%s
daemon_memory: 2g
images:
  preload_dirs: [/opt/tsubo/images]
job_types:
  - name: small
    memory_limit: 64m
    max_memory_limit: 128m
    environment: {KEPT: type}
    allowed_environment: [ASKED]
  - name: nonesuch
    image: python
    command: [/nonesuch]
  - name: noshm
    shared_memory: 0
  - name: shared
    shared_memory: 16m
  - name: smallshared
    memory_limit: 64m
    shared_memory: 16m
%s
`, dir, name, name, extra)
	path := filepath.Join(dir, "tsubo.yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// startDaemon starts a tsubod and waits until it is healthy. All but the first get the first one's
// imported images, because importing is what takes long under emulation.
func startDaemon(dir, name, extra string) (*daemon, error) {
	config, err := writeConfig(dir, name, extra)
	if err != nil {
		return nil, err
	}
	if data := filepath.Join(dir, "data"); shared != nil && !exists(data) {
		if err := copyImages(data); err != nil {
			return nil, err
		}
	}
	d := &daemon{dir: dir, socket: "/run/tsubo-" + name + "/tsubo.sock", exited: make(chan error, 1)}
	if d.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	d.cmd = exec.Command("tsubod", "--config", config)
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.exited <- d.cmd.Wait() }()
	d.where = hoststate.Where{PID: d.cmd.Process.Pid, RunDir: "/run/tsubo-" + name, JobsPath: "/sys/fs/cgroup/tsubo-" + name + "/jobs"}
	d.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}}
	for deadline := time.Now().Add(10 * slack * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := d.client.Get("http://tsubo/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return d, nil
			}
		}
		select {
		case err := <-d.exited:
			return nil, fmt.Errorf("it ended: %v\n%s", err, d.logText())
		default:
		}
		if time.Now().After(deadline) {
			_ = d.cmd.Process.Kill()
			return nil, fmt.Errorf("not healthy\n%s", d.logText())
		}
	}
}

// copyImages makes the state directory data with the images of the shared daemon.
func copyImages(data string) error {
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"rootfs", "images"} {
		if out, err := exec.Command("cp", "-a", filepath.Join(shared.dir, "data", sub), data).CombinedOutput(); err != nil {
			return fmt.Errorf("copy the images: %w\n%s", err, out)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (d *daemon) logText() string {
	text, _ := os.ReadFile(d.log.Name())
	return string(text)
}

// stop ends the daemon as an operator does, and fails when it does not end well.
func (d *daemon) stop() error {
	d.client.CloseIdleConnections()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-d.exited:
		if err != nil {
			return fmt.Errorf("%w\n%s", err, d.logText())
		}
		return nil
	case <-time.After(10 * slack * time.Second):
		_ = d.cmd.Process.Kill()
		return errors.New("it did not end\n" + d.logText())
	}
}

// execute posts a request to /execute and returns the status and the body.
func (d *daemon) execute(ctx context.Context, request any) (int, []byte, error) {
	var body io.Reader
	switch r := request.(type) {
	case string:
		body = strings.NewReader(r)
	default:
		text, err := json.Marshal(r)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://tsubo/execute", body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// run runs a job that must be accepted.
func (d *daemon) run(t *testing.T, request map[string]any) job.ExecuteAnswer {
	t.Helper()
	status, body, err := d.execute(t.Context(), request)
	if err != nil {
		t.Fatalf("execute: %v\n%s", err, d.logText())
	}
	if status != http.StatusOK {
		t.Fatalf("execute: HTTP %d %s\n%s", status, body, d.logText())
	}
	var answer job.ExecuteAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return answer
}

// nothingLeft fails when the daemon holds more than before, within a bound.
func (d *daemon) nothingLeft(t *testing.T, before hoststate.State) {
	t.Helper()
	d.client.CloseIdleConnections()
	after, err := hoststate.Settle(d.where, before, 4, slack*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if grown := hoststate.Grown(before, after, 4); len(grown) > 0 {
		t.Errorf("left on the host: %s\n%s", strings.Join(grown, ", "), d.logText())
	}
}

func (d *daemon) state(t *testing.T) hoststate.State {
	t.Helper()
	s, err := hoststate.Take(d.where)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
