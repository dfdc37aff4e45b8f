package system

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
	"github.com/tsubo-run/tsubo/tests/pagecache"
)

// refused runs a tsubod that must not serve and returns its output.
func refused(t *testing.T, config string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tsubod", "--config", config)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("tsubod ended with %v, want exit status 2\n%s", err, said.String())
	}
	return said.String()
}

func TestStartRefusals(t *testing.T) {
	long := "/run/" + strings.Repeat("x", 120) + "/tsubo.sock"
	for name, c := range map[string]struct{ extra, part string }{
		"unknown key":     {"colour: blue", "colour"},
		"socket too long": {"socket: " + long, "socket"},
		"no runsc":        {"runsc_path: /nowhere/runsc", "runsc_path"},
		"runsc is a text": {"runsc_path: /etc/passwd", "runsc_path"},
		"no tsubo-init":   {"init_path: /nowhere/tsubo-init", "init_path"},
		"no such group":   {"socket_group: nosuchgroup", "socket_group"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := need.RootDir(t)
			config, err := writeConfig(dir, "refused", c.extra)
			if err != nil {
				t.Fatal(err)
			}
			if said := refused(t, config); !strings.Contains(said, c.part) {
				t.Errorf("said %q, want %q in it", said, c.part)
			}
			if left, _ := filepath.Glob("/sys/fs/cgroup/tsubo-refused/jobs/*/cgroup.procs"); len(left) > 0 {
				t.Errorf("leaves left: %v", left)
			}
			if _, err := os.Stat("/run/tsubo-refused/tsubo.sock"); err == nil {
				t.Error("a socket is left")
			}
		})
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	said := refused(t, filepath.Join(shared.dir, "tsubo.yaml"))
	if !strings.Contains(said, "data_dir") {
		t.Errorf("same state: said %q", said)
	}
	dir := need.RootDir(t)
	config, err := writeConfig(dir, "second", "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("cgroup_parent: /tsubo-second"), []byte("cgroup_parent: /tsubo-shared"))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := refused(t, config); !strings.Contains(said, "cgroup_parent") {
		t.Errorf("same subtree: said %q", said)
	}
	shared.run(t, map[string]any{"code": "print('the first one goes on')"})
}

// A daemon that was killed leaves sandboxes behind; the next one finds them before it serves.
func TestStartSweepsAfterKill(t *testing.T) {
	dir := need.RootDir(t)
	d, err := startDaemon(dir, "crash", "")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	go func() {
		defer close(started)
		_, _, _ = d.execute(t.Context(), map[string]any{"code": "import time; time.sleep(999)", "timeout": 250})
	}()
	for deadline := time.Now().Add(4 * slack * time.Second); len(glob(t, d.where.JobsPath+"/*/cgroup.procs")) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no leaf was seen")
		}
	}
	time.Sleep(time.Second) // in whichever state that leaves it
	if err := d.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-d.exited
	<-started
	if len(glob(t, d.where.JobsPath+"/*/cgroup.procs")) == 0 {
		t.Fatal("the kill left nothing: the test proves nothing")
	}
	d, err = startDaemon(dir, "crash", "")
	if err != nil {
		t.Fatal(err)
	}
	if left := glob(t, d.where.JobsPath+"/*/cgroup.procs"); len(left) > 0 {
		t.Errorf("leaves left: %v", left)
	}
	for _, sub := range []string{"runsc", "sandboxes"} {
		if left := glob(t, filepath.Join("/run/tsubo-crash", sub, "*")); len(left) > 0 {
			t.Errorf("files left: %v", left)
		}
	}
	if a := d.run(t, map[string]any{"code": "print(1)"}); !a.Success {
		t.Errorf("%+v", a)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}

// The daemon's own memory is bounded by its leaf, no sandbox outlives it when the host runs out of
// memory, and neither dumps core.
func TestDaemonIsBounded(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	proc := fmt.Sprintf("/proc/%d/", shared.cmd.Process.Pid)
	_, leaf, ok := strings.Cut(read(proc+"cgroup"), "0::")
	if most := read("/sys/fs/cgroup" + leaf + "/memory.max"); !ok || most != strconv.Itoa(2<<30) {
		t.Errorf("memory.max of %s is %s, want daemon_memory", leaf, most)
	}
	if score := read(proc + "oom_score_adj"); score != "-500" {
		t.Errorf("oom_score_adj %s", score)
	}
	if core := regexp.MustCompile(`(?m)^Max core file size +0 +0 `); !core.MatchString(read(proc + "limits")) {
		t.Errorf("limits %s", read(proc+"limits"))
	}
}

// Whatever unpacks an image runs in a leaf of its own.
func TestImagesAreUnpackedInALeaf(t *testing.T) {
	if len(imageLeaves) == 0 || imageLeaves[0] != strconv.Itoa(1536<<20) {
		t.Errorf("leaves with a process, by memory.max: %q", imageLeaves)
	}
}

// After a start the images are in the page cache, before any job has touched them.
func TestStartReadsImagesAhead(t *testing.T) {
	dir := pagecache.Dir(t)
	if err := copyImages(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	images := glob(t, filepath.Join(dir, "data/rootfs/roots/*/root.erofs"))
	if len(images) < 2 {
		t.Fatalf("images %v: want that of the jobs and those of every sandbox", images)
	}
	for _, image := range images {
		pagecache.Evict(t, image)
	}
	d, err := startDaemon(dir, "ahead", "")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(4 * slack * time.Second); len(images) > 0; time.Sleep(50 * time.Millisecond) {
		images = slices.DeleteFunc(images, func(image string) bool { return pagecache.Pages(t, image) == pagecache.Size(t, image) })
		if time.Now().After(deadline) {
			t.Errorf("not read: %v", images)
			break
		}
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Without an image tsubod serves, and reports the fix to whoever submits; with one imported through
// the API it runs.
func TestImportThroughTheAPI(t *testing.T) {
	d, err := startDaemon(need.RootDir(t), "empty", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	out, err := exec.Command("tsubo", "images", "--socket", d.socket, "import", "/opt/tsubo/images/python", "--name", "again").CombinedOutput()
	if err != nil {
		t.Errorf("tsubo images import: %v\n%s", err, out)
	}
	out, err = exec.Command("tsubo", "images", "--socket", d.socket, "list").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "again") || !strings.Contains(string(out), "python") {
		t.Errorf("tsubo images list: %v\n%s", err, out)
	}
	if a := d.run(t, map[string]any{"code": "print(1)"}); a.Status != job.Succeeded {
		t.Errorf("%+v", a)
	}
}

// TestNoCoreDumps: neither the daemon nor a sandbox hands its memory to the host's core handler.
func TestNoCoreDumps(t *testing.T) {
	id := shared.submit(t, map[string]any{"code": "import time\ntime.sleep(600)", "timeout": 300})
	defer shared.ask(t, http.MethodPost, "/jobs/"+id+"/cancel", "")
	pids := map[string]int{"tsubod": shared.cmd.Process.Pid}
	for deadline := time.Now().Add(10 * slack * time.Second); pids["sandbox"] == 0; time.Sleep(50 * time.Millisecond) {
		files, err := filepath.Glob("/run/tsubo-shared/sandboxes/*/pid")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no sandbox runs: %v", err)
		}
		for _, file := range files {
			data, _ := os.ReadFile(file)
			pids["sandbox"], _ = strconv.Atoi(string(data)) // 0 while runsc writes it
		}
	}
	for name, pid := range pids {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil {
			t.Fatal(err)
		}
		line := regexp.MustCompile(`Max core file size +(\S+) +(\S+)`).FindStringSubmatch(string(limits))
		if len(line) != 3 || line[1] != "0" || line[2] != "0" {
			t.Errorf("%s: core file size %q", name, line)
		}
	}
}
