package system

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
)

// report is a program that says everything of itself that a sandbox which has waited could have
// wrong.
const report = `
import os, resource, socket, stat, sys
def show(*a): print(*a, flush=True)
for line in open("/proc/self/status"):
    if line.split(":")[0] in ("Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt", "Threads", "FDSize", "Pid", "PPid"):
        show(line.strip())
show(sorted(p for p in os.listdir("/proc") if p.isdigit()))
show(sorted(open("/proc/self/mounts")))
for n in ("NPROC", "NOFILE", "FSIZE", "CORE", "AS", "DATA", "STACK", "CPU"): show(n, resource.getrlimit(getattr(resource, "RLIMIT_" + n)))
show(os.getcwd(), sorted(os.environ.items()), sys.argv, sys.path, sys.flags)
for d in ("/", "/tmp", "/tmp/home", "/output", "/code", "/input", "/dev", "/dev/shm", "/.tsubo", "/home/sandbox"):
    try: show(d, sorted(os.listdir(d)), stat.filemode(os.stat(d).st_mode), os.stat(d).st_uid)
    except OSError as e: show(d, e.errno)
show(sorted(os.listdir("/proc/self/fd")), [stat.S_IFMT(os.fstat(n).st_mode) for n in range(3)])
show(socket.gethostname(), open("/proc/meminfo").readline(), os.cpu_count(), socket.if_nameindex())
show(os.getsid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0))
for f in ("/proc/net/tcp", "/proc/net/unix", "/proc/sysvipc/shm", "/proc/sysvipc/sem"):
    try: show(f, open(f).read())
    except OSError as e: show(f, e.errno)
try: open("/proc/1/mem")
except OSError as e: show("init", e.errno)
try: open("/x", "w")
except OSError as e: show("root", e.errno)
`

// residue leaves what it can where it can.
const residue = `
import os, signal, subprocess, socket, resource, time
os.umask(0o777); os.chdir("/tmp")
for d in ("/tmp", "/output"):
    open(d + "/left", "w").write("secret")
open("/tmp/.hidden", "w").write("secret")
os.mkfifo("/tmp/fifo")
s = socket.socket(socket.AF_UNIX); s.bind("/tmp/socket"); s.listen()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["python3", "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
os.environ["LEFT"] = "secret"
try: os.chmod("/tmp", 0)
except OSError: pass
print("left", flush=True)
os._exit(0)
`

func (d *daemon) poolStats(t *testing.T) job.SandboxStats {
	t.Helper()
	resp, err := d.client.Get("http://tsubo/pool/sandboxes")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s job.SandboxStats
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != 200 {
		t.Fatalf("HTTP %d, %v", resp.StatusCode, err)
	}
	return s
}

// full waits until so many wait.
func (d *daemon) full(t *testing.T, hot, warm int) {
	t.Helper()
	for deadline := time.Now().Add(10 * slack * time.Second); ; time.Sleep(100 * time.Millisecond) {
		s := d.poolStats(t)
		if s.HotWaiting >= hot && s.WarmWaiting >= warm && s.Booting == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, want %d hot and %d warm\n%s", s, hot, warm, d.logText())
		}
	}
}

func (d *daemon) tier(t *testing.T, want string, request map[string]any) job.ExecuteAnswer {
	t.Helper()
	a := d.run(t, request)
	if a.Status != job.Succeeded || a.Timing.Sandbox == nil || *a.Timing.Sandbox != want {
		t.Errorf("%s in a sandbox of %v, want %s: %s%s", a.Status, deref(a.Timing.Sandbox), want, a.Stdout, a.Stderr)
	}
	want = "erofs"
	if e := a.Enforced; e.Rootfs != want || !e.ReadOnlyRoot || !e.Seccomp || e.Network != "none" || !e.Memory || !e.Swap || !e.CPU || !e.PIDs || !e.Devices {
		t.Errorf("enforced %+v", e)
	}
	return a
}

func deref(s *string) string {
	if s == nil {
		return "nothing"
	}
	return *s
}

// pooled is three job types of one size: two have a sandbox waiting, one changes a variable that an
// interpreter reads when it starts, so that its jobs find an empty one only.
const pooled = `
  - name: early
    memory_limit: 64m
    environment: {KEPT: type}
    allowed_environment: [PYTHONHASHSEED, ASKED]
pool_min: 1
pool_max: 1
warm_max: 1`

// I14: a sandbox that has waited, whichever way, is the same as one that was booted for its job,
// also after others of its kind were used.
func TestWaitingSandboxesAreAsNew(t *testing.T) {
	d, err := startDaemon(need.RootDir(t), "pool", pooled)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if left := glob(t, "/run/tsubo-pool/runsc/*"); len(left) > 0 {
			t.Errorf("a stopped daemon has left %v", left)
		}
		if left := glob(t, d.where.JobsPath+"/*/cgroup.procs"); len(left) > 0 {
			t.Errorf("a stopped daemon has left %v", left)
		}
	}()
	early := func(code string) map[string]any {
		return map[string]any{"job_type": "early", "timeout": 60, "code": code, "environment": map[string]string{"PYTHONHASHSEED": "0", "ASKED": "yes"}}
	}
	plain := func(code string) map[string]any {
		return map[string]any{"job_type": "early", "timeout": 60, "code": code, "environment": map[string]string{"ASKED": "yes"}}
	}
	d.full(t, 4, 1)
	d.tier(t, "hot", plain(residue))
	d.full(t, 4, 1)
	hot := d.tier(t, "hot", plain(report))
	// The place of the empty one goes to the size that was missed last.
	d.run(t, early(residue))
	d.full(t, 4, 1)
	d.tier(t, "warm", early(residue))
	d.full(t, 4, 1)
	warm := d.tier(t, "warm", early(report))
	d.killWaiting(t) // none is left
	cold := d.tier(t, "cold", early(report))

	same := func(name, a, b string) {
		t.Helper()
		a, b = differs.ReplaceAllString(a, "$1$2$3"), differs.ReplaceAllString(b, "$1$2$3")
		if a == b {
			return
		}
		x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				t.Errorf("%s and cold differ:\n  %s\n  %s", name, x[i], y[i])
			}
		}
		if len(x) != len(y) {
			t.Errorf("%s says %d lines, cold %d", name, len(x), len(y))
		}
	}
	same("warm", warm.Stdout, cold.Stdout)
	same("hot", hot.Stdout, cold.Stdout)
	if !strings.Contains(cold.Stdout, "'ASKED', 'yes'") || !strings.Contains(cold.Stdout, "root 30") {
		t.Errorf("the report says nothing:\n%s", cold.Stdout)
	}
}

// differs is what two sandboxes of one kind may have different: what the early jobs have asked for,
// the sentry's number for an image's descriptor, and the job's pid, which counts the threads that
// init's runtime has had.
var differs = regexp.MustCompile(`, \('PYTHONHASHSEED', '0'\)|hash_randomization=[01]|(ifd=)\d+|((?m)^Pid:\s+)\d+|(\['1', ')\d+`)

// killWaiting kills every sandbox process of the daemon: nothing runs but what waits.
func (d *daemon) killWaiting(t *testing.T) {
	t.Helper()
	for _, file := range glob(t, d.where.JobsPath+"/*/cgroup.procs") {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// Death while idle: whoever comes next is served, by another one.
func TestWaitingSandboxesDie(t *testing.T) {
	d, err := startDaemon(need.RootDir(t), "dying", "\npool_min: 1\npool_max: 1\nwarm_max: 1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	d.full(t, 3, 1)
	for range 2 {
		d.killWaiting(t)
		if a := d.run(t, map[string]any{"code": "print(1)", "timeout": 60}); a.Status != job.Succeeded || a.Stdout != "1\n" {
			t.Errorf("%+v", a)
		}
	}
	d.full(t, 3, 1)
	d.tier(t, "hot", map[string]any{"code": "print(1)"})
}

// A daemon that is killed with a full pool: the next one sweeps all of it, and fills its own.
func TestRestartWithAFullPool(t *testing.T) {
	dir := need.RootDir(t)
	d, err := startDaemon(dir, "full", "\npool_min: 1\npool_max: 1\nwarm_max: 1")
	if err != nil {
		t.Fatal(err)
	}
	d.full(t, 3, 1)
	old := append(glob(t, d.where.JobsPath+"/*/cgroup.procs"), glob(t, "/run/tsubo-full/sandboxes/*")...)
	old = append(old, glob(t, "/run/tsubo-full/runsc/*")...)
	if len(old) < 12 {
		t.Fatalf("too little waits: %v", old)
	}
	if err := d.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-d.exited
	if d, err = startDaemon(dir, "full", "\npool_min: 1\npool_max: 1\nwarm_max: 1"); err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if exists(path) {
			t.Errorf("left by the first life: %s", path)
		}
	}
	d.full(t, 3, 1)
	d.tier(t, "hot", map[string]any{"code": "print(1)"})
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}
