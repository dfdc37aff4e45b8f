package system

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

func TestHello(t *testing.T) {
	before := shared.state(t)
	a := shared.run(t, map[string]any{
		"code": `
import json, sys
data = json.load(open("/input/data.json"))
json.dump({"sum": sum(data["numbers"])}, open("/output/result.json", "w"))
open("/output/note.txt", "w").write("kept")
print("hello", data["name"])
print("to stderr", file=sys.stderr)
`,
		"input_data": map[string]any{"name": "world", "numbers": []int{1, 2, 3}},
	})
	if !a.Success || a.Stdout != "hello world\n" || a.Stderr != "to stderr\n" || string(a.Output) != `{"sum":6}` || *a.ExitCode != 0 {
		t.Errorf("%+v", a)
	}
	if len(a.Artifacts) != 2 {
		t.Errorf("artifacts %+v", a.Artifacts)
	}
	want := job.Enforced{Runtime: "runsc", Rootfs: "erofs", ReadOnlyRoot: true, Seccomp: true, Network: "none",
		Memory: true, Swap: true, CPU: true, PIDs: true, Devices: true}
	if a.Enforced != want {
		t.Errorf("enforced %+v, want %+v", a.Enforced, want)
	}
	if a.ResourceUsage.CPUTimeMS == nil || a.ResourceUsage.MaxRSSMB == nil {
		t.Errorf("usage %+v", a.ResourceUsage)
	}
	shared.nothingLeft(t, before)
}

// What a job writes to /dev/shm is memory of its leaf.
func TestSharedMemoryIsCharged(t *testing.T) {
	peak := func(path string) float64 {
		a := shared.run(t, map[string]any{
			"job_type": "smallshared", "timeout": 120, "code": "f = open('" + path + "', 'wb', buffering=0)\nfor _ in range(240): f.write(bytes(64 << 10))",
		})
		if !a.Success || a.ResourceUsage.MaxRSSMB == nil {
			t.Fatalf("%+v", a)
		}
		return float64(*a.ResourceUsage.MaxRSSMB)
	}
	if without, with := peak("/dev/null"), peak("/dev/shm/x"); with-without < 10 {
		t.Errorf("15 MiB in /dev/shm raise the peak from %g to %g MB", without, with)
	}
}

// What ends a job is shown from the kernel's own files and from init, never from what the program
// prints or how it exits.
func TestStatuses(t *testing.T) {
	exit := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		request map[string]any
		status  job.Status
		exit    *int
		errType job.ErrorType // "" for none
		stdout  string        // a part of it
	}{
		"success":                        {map[string]any{"code": "print('ok')"}, job.Succeeded, exit(0), "", "ok"},
		"exit 3":                         {map[string]any{"code": "import sys; sys.exit(3)"}, job.Failed, exit(3), job.TypeRuntime, ""},
		"exit 124 is no timeout":         {map[string]any{"code": "import os; os._exit(124)"}, job.Failed, exit(124), job.TypeRuntime, ""},
		"exit 137 is no oom":             {map[string]any{"code": "import os; os._exit(137)"}, job.Failed, exit(137), job.TypeRuntime, ""},
		"a word on stderr is no oom":     {map[string]any{"code": "import sys; sys.exit('MemoryError: out of memory, killed')"}, job.Failed, exit(1), "", ""},
		"MemoryError is caught":          {map[string]any{"code": "try: bytearray(1 << 45)\nexcept MemoryError: print('caught')"}, job.Succeeded, exit(0), "", "caught"},
		"MemoryError below the limit":    {map[string]any{"code": "bytearray(1 << 45)"}, job.Failed, exit(1), job.TypeRuntime, ""},
		"starts in /output, with a home": {map[string]any{"code": "import os\nopen('x', 'w'); print(os.getcwd(), os.listdir(os.path.expanduser('~')))"}, job.Succeeded, exit(0), "", "/output []"},
		"several files": {map[string]any{"filename": "app.py", "code_files": map[string]any{"p/__init__.py": "X = 7"}, "code": "import p, sys; print(p.X, sys.argv)"},
			job.Succeeded, exit(0), "", "7 ['/code/app.py']"},
		"exception":   {map[string]any{"code": "1/0"}, job.Failed, exit(1), "division_error", ""},
		"no /dev/shm": {map[string]any{"job_type": "noshm", "code": "try: open('/dev/shm/x', 'w')\nexcept OSError as e: print('none', e.errno)"}, job.Succeeded, exit(0), "", "none"},
		"/dev/shm by default": {map[string]any{"code": "import multiprocessing as m, os\nif __name__ == '__main__':\n  l = m.Lock(); s = os.statvfs('/dev/shm'); st = os.stat('/dev/shm'); print(l.acquire(), s.f_blocks * s.f_frsize >> 20, st.st_uid, oct(st.st_mode))"},
			job.Succeeded, exit(0), "", "True 64 1000 0o41777"},
		"shared memory": {map[string]any{"job_type": "shared", "timeout": 60, "code": "import multiprocessing as m\nif __name__ == '__main__':\n  l = m.Lock(); print('lock', l.acquire())\n  try: open('/dev/shm/x', 'wb').write(bytes(17 << 20))\n  except OSError as e: print(e.errno)"},
			job.Succeeded, exit(0), "", "lock True\n28"},
		"no exec from /dev/shm": {map[string]any{"job_type": "shared", "code": "import os, shutil, subprocess\nshutil.copy('/usr/bin/true', '/dev/shm/t')\ntry: subprocess.run(['/dev/shm/t'])\nexcept PermissionError: print('EACCES', oct(os.stat('/dev/shm').st_mode))"},
			job.Succeeded, exit(0), "", "EACCES 0o41777"},
		"exception after a flood":      {map[string]any{"code": "import sys\nsys.stderr.write('log\\n' * 100000)\n1/0", "timeout": 60}, job.Failed, exit(1), "division_error", ""},
		"SIGSEGV":                      {map[string]any{"code": "import os,signal; os.kill(os.getpid(), signal.SIGSEGV)"}, job.Failed, exit(139), job.TypeSegfault, ""},
		"SIGKILL to itself":            {map[string]any{"code": "import os,signal; os.kill(os.getpid(), 9)"}, job.Failed, exit(137), job.TypeKilled, ""},
		"kill everything":              {map[string]any{"code": "import os; os.kill(-1, 9)"}, "", nil, "", ""},
		"timeout":                      {map[string]any{"code": "print('begun', flush=True)\nwhile True: pass", "timeout": 2}, job.Timeout, exit(124), job.TypeExecutionTimeout, "begun"},
		"timeout with signals ignored": {map[string]any{"code": "import signal,time\nfor s in (1,2,15): signal.signal(s, signal.SIG_IGN)\nprint('begun', flush=True)\ntime.sleep(999)", "timeout": 2}, job.Timeout, exit(124), job.TypeExecutionTimeout, "begun"},
		"stopped by itself":            {map[string]any{"code": "import os,signal; os.kill(os.getpid(), signal.SIGSTOP)", "timeout": 2}, job.Timeout, exit(124), job.TypeExecutionTimeout, ""},
		"oom":                          {map[string]any{"code": "b = []\nwhile True: b.append(bytearray(8 << 20))", "timeout": 120, "job_type": "small"}, job.OOM, exit(137), job.TypeOOM, ""},
		"85 % of the memory is usable": {map[string]any{"code": "b = bytearray(54 << 20); print(len(b) >> 20)", "timeout": 120, "job_type": "small"}, job.Succeeded, exit(0), "", "54"},
		"/tmp full is an errno":        {map[string]any{"code": "f = open('/tmp/x', 'wb', buffering=0)\ntry:\n  while True: f.write(bytes(1 << 20))\nexcept OSError as e: print(e.errno)", "timeout": 120}, job.Succeeded, exit(0), "", "2"},
		"no exec from /tmp": {map[string]any{"code": "import shutil,subprocess\nshutil.copy('/usr/bin/true', '/tmp/t')\ntry: subprocess.run(['/tmp/t'])\nexcept PermissionError: print('EACCES')"},
			job.Succeeded, exit(0), "", "EACCES"},
		"SIGXFSZ": {map[string]any{"code": "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nf = open('/tmp/x', 'wb')\nf.truncate(200 << 20)", "timeout": 60}, job.Failed, exit(153), job.TypeFileSize, ""},
		"threads are bounded by EAGAIN": {map[string]any{"code": "import threading,time\nn=0\ntry:\n  for n in range(500): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nexcept RuntimeError as e: print('refused', n < 60)\nimport os; os._exit(0)", "timeout": 60},
			job.Succeeded, exit(0), "", "refused True"},
		"a daemonised child ends with its parent": {map[string]any{"code": "import os,time\nif os.fork()==0:\n  os.setsid()\n  if os.fork()==0:\n    for i in range(3): os.close(i)\n    time.sleep(999)\n  os._exit(0)\nprint('gone')"}, job.Succeeded, exit(0), "", "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			a := shared.run(t, c.request)
			if c.status == "" { // the program's own end, whichever it is, but never tsubo's failure
				if a.ErrorType != nil && *a.ErrorType == job.TypeInternal {
					t.Errorf("%+v", a)
				}
				return
			}
			got := job.ErrorType("")
			if a.ErrorType != nil {
				got = *a.ErrorType
			}
			if a.Status != c.status || a.ExitCode == nil || *a.ExitCode != *c.exit || c.errType != "" && got != c.errType {
				t.Errorf("status %s, exit %v, error %s %v; want %s, %d, %s\nstderr: %s", a.Status, *a.ExitCode, got, a.Error, c.status, *c.exit, c.errType, a.Stderr)
			}
			if !strings.Contains(a.Stdout, c.stdout) {
				t.Errorf("stdout %q, want %q in it", a.Stdout, c.stdout)
			}
		})
	}
}

func TestArtifactsNeverFollow(t *testing.T) {
	a := shared.run(t, map[string]any{"artifacts": "inline", "code": `
import os, socket
os.symlink("/etc/passwd", "/output/link")
os.symlink("good", "/output/relative")
os.symlink("/input/data.json", "/output/result.json")
os.mkdir("/output/dir"); os.symlink("/", "/output/root")
os.mkfifo("/output/fifo")
socket.socket(socket.AF_UNIX).bind("/output/socket")
open("/output/good", "w").write("good"); os.chmod("/output/good", 0)
open("/output/.hidden", "w").write("x")
open("/output/sparse", "w").truncate(90 << 20)
os.chmod("/output", 0)
`})
	if !a.Success || string(a.Output) != "null" && a.Output != nil {
		t.Errorf("success %v, output %s, stderr %s", a.Success, a.Output, a.Stderr)
	}
	if len(a.Artifacts) != 1 || a.Artifacts[0].Name != "good" || string(a.Artifacts[0].Data) != "good" {
		t.Errorf("artifacts %+v", a.Artifacts)
	}
	if len(a.ArtifactsSkipped) != 9 {
		t.Errorf("skipped %+v", a.ArtifactsSkipped)
	}
}

func TestOutputIsCapped(t *testing.T) {
	a := shared.run(t, map[string]any{"timeout": 120, "code": "import sys\nfor _ in range(300): sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)"})
	if !a.Success || len(a.Stdout) != 65536 || len(a.Stderr) != 65536 || !a.StdoutTruncated || !a.StderrTruncated {
		t.Errorf("success %v, %d and %d bytes, truncated %v %v", a.Success, len(a.Stdout), len(a.Stderr), a.StdoutTruncated, a.StderrTruncated)
	}
}

func TestRefusals(t *testing.T) {
	before := shared.state(t)
	big := strings.Repeat("#", 102401)
	for name, c := range map[string]struct {
		body   string
		status int
		part   string
	}{
		"no code":            {`{}`, 422, "code"},
		"blank code":         {`{"code":" \n"}`, 422, "code"},
		"code over the cap":  {`{"code":"` + big + `"}`, 422, "102400"},
		"input over the cap": {`{"code":"1","input_data":{"a":"` + strings.Repeat("x", 1<<20) + `"}}`, 422, "1048576"},
		"timeout over the ceiling": {`{"code":"1","timeout":301}`, 422,
			"timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		"unknown key":      {`{"code":"1","cod":"2"}`, 422, "cod"},
		"duplicate key":    {`{"code":"1","code":"2"}`, 422, "code"},
		"wrong type":       {`{"code":"1","timeout":"5"}`, 422, "timeout"},
		"not JSON":         {`{"code":`, 422, "json_invalid"},
		"unknown job type": {`{"code":"1","job_type":"nope"}`, 404, "Job type 'nope' not found"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, err := shared.execute(t.Context(), c.body)
			if err != nil {
				t.Fatal(err)
			}
			if status != c.status || !strings.Contains(string(body), c.part) {
				t.Errorf("HTTP %d %s, want %d with %q", status, body, c.status, c.part)
			}
		})
	}
	shared.nothingLeft(t, before)
}

func TestHealth(t *testing.T) {
	resp, err := shared.client.Get("http://tsubo/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var h job.HealthAnswer
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || h.Status != "healthy" || !h.GVisorAvailable || h.DockerAvailable {
		t.Errorf("HTTP %d %+v", resp.StatusCode, h)
	}
}

// A job that has used up its memory ends as such also where the kernel could go on for long taking
// away and reading again the text of the program and of the sentry, which is charged to the leaf
// when it was not in the page cache before.
func TestMemoryRunsOutCold(t *testing.T) {
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Fatal(err)
	}
	a := shared.run(t, map[string]any{"job_type": "small", "timeout": 60, "code": `
import json
b = [b"x" * (95 << 20)]
while True:
    b.append(b"y" * (64 << 10))
    json.loads(json.dumps({"n": len(b)}))
`})
	if a.Status != job.OOM || a.ErrorType == nil || *a.ErrorType != job.TypeOOM {
		t.Errorf("%+v, want oom", a)
	}
}
