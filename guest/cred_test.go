package guest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// run boots a sandbox, runs a job and requires a complete conversation.
func run(t *testing.T, o guesttest.Options, j guesttest.Job) guesttest.Result {
	t.Helper()
	s := guesttest.Boot(t, o)
	r := s.Run(j)
	if !r.Started || r.Exit == nil || r.Done == nil || r.Fatal != nil || r.Err != nil {
		t.Fatalf("conversation: %+v\n%s", r, s.Log())
	}
	return r
}

// python runs code that must succeed, and returns its output.
func python(t *testing.T, o guesttest.Options, code string) string {
	t.Helper()
	r := run(t, o, guesttest.Job{Code: code})
	if r.Status() != 0 || r.Stderr != "" {
		t.Fatalf("status %d, stdout %q, stderr:\n%s", r.Status(), r.Stdout, r.Stderr)
	}
	return r.Stdout
}

func TestJobHasNoPrivilege(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import os, resource
print(os.getresuid(), os.getresgid(), os.getgroups())
want = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "SigBlk", "SigIgn", "PPid")
for line in open("/proc/self/status"):
    if line.split(":")[0] in want:
        print(*line.split())
print(os.umask(0o22), os.getsid(0) == os.getpid() == os.getpgid(0), os.nice(0))
print([resource.getrlimit(r) for r in (
    resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)])
`)
		for _, want := range []string{
			"(1000, 1000, 1000) (1000, 1000, 1000) []\n", "CapInh: 0000000000000000\n", "CapPrm: 0000000000000000\n",
			"CapEff: 0000000000000000\n", "CapBnd: 0000000000000000\n", "CapAmb: 0000000000000000\n", "18 True 0\n",
			"[(128, 128), (512, 1024), (4194304, 4194304), (0, 0)]\n"} {
			if want == "CapAmb: 0000000000000000\n" && !strings.Contains(out, "CapAmb") {
				continue // gVisor lacks this line
			}
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
		if o.Runsc == "" {
			for _, want := range []string{
				"NoNewPrivs: 1\n", "SigBlk: 0000000000000000\n", "SigIgn: 0000000001001000\n", "PPid: 1\n",
			} {
				if !strings.Contains(ourIgnored(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
		}
	})
}

// ourIgnored removes signals 32 and 33 from the ignored signals of a status file. glibc's
// posix_spawn, which make uses, leaves them ignored in its children, and in namespaces of this
// kernel the job inherits them from the test. A sandbox starts without them.
func ourIgnored(status string) string {
	return regexp.MustCompile(
		`(SigIgn:\s+0{7})[0-9a-f]([0-9a-f]{8})`,
	).ReplaceAllStringFunc(status, func(line string) string {
		high := len(line) - 8
		b, err := strconv.ParseUint(line[high:], 16, 32)
		if err != nil {
			return line
		}
		return line[:high-1] + "0" + fmt.Sprintf("%08x", b&^(1<<31))
	})
}

func TestCommandInheritsNothing(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Argv = []string{
			"sh",
			"-c",
			`echo "$0 $1"; cat; ls /proc/self/fd | tr '\n' ' '; ` +
				`grep -E 'Sig(Blk|Ign)|CapBnd|^Uid' /proc/self/status; kill -SEGV $$`,
		}
		o.Env = []string{"PATH=/usr/bin:/bin", "A=1"}
		r := run(t, o, guesttest.Job{Args: []string{"zero", "one"}, Stdin: "input\n", Env: []string{"A=2", "B=3"}})
		if r.Status() != 139 || !strings.HasPrefix(r.Stdout, "zero one\ninput\n0 1 2 3 ") {
			t.Errorf("status %d\n%s%s", r.Status(), r.Stdout, r.Stderr)
		}
		if o.Runsc == "" && !strings.Contains(ourIgnored(r.Stdout),
			"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n") {
			t.Errorf("signals:\n%s", r.Stdout)
		}
		o.Argv = []string{"env"}
		if r := run(t, o, guesttest.Job{Env: []string{"A=2", "B=3"}}); r.Stdout != "PATH=/usr/bin:/bin\nA=2\nB=3\n" {
			t.Errorf("environment:\n%s", r.Stdout)
		}
	})
}

// The job has only the descriptors 0 to 2, so the first file that it opens gets 3.
func TestJobHasThreeDescriptors(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import os, stat
for fd in range(1024):
    try: st = os.fstat(fd)
    except OSError: continue
    print(fd, stat.S_ISFIFO(st.st_mode))
print(os.open("/", os.O_RDONLY))
`)
		if out != "0 True\n1 True\n2 True\n3\n" {
			t.Error(out)
		}
	})
}

func TestJobCannotTouchInit(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import os, signal
def errno(f, *a):
    try: f(*a)
    except OSError as e: return e.errno
    return 0
print([errno(os.kill, 1, s) for s in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV)])
print([errno(open, "/proc/1/" + n, "rb") != 0 for n in ("mem", "environ", "maps")])
print(errno(os.listdir, "/proc/1/fd") != 0, errno(os.readlink, "/proc/1/exe") != 0,
    errno(os.chdir, "/proc/1/root") != 0)
for d in ("/code", "/input"):
    print([errno(f) for f in (lambda: open(d + "/x", "w"), lambda: open(d + "/" + os.listdir(d)[0], "a"),
        lambda: os.unlink(d + "/" + os.listdir(d)[0]), lambda: os.rename(d + "/" + os.listdir(d)[0], d + "/y"),
        lambda: os.chmod(d, 0o777))])
print(oct(os.stat("/code/main.py").st_mode), os.stat("/code/main.py").st_uid, os.stat("/input/data.json").st_gid)
`)
		if out != `[1, 1, 1, 1, 1]
[True, True, True]
True True True
[13, 13, 13, 13, 1]
[13, 13, 13, 13, 1]
0o100444 0 0
` {
			t.Error(out)
		}
	})
}

// A child that CLONE_PARENT makes init's, with any exit signal, is reaped, harms nothing and does
// not survive the job.
func TestForeignChildren(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
CLONE_PARENT, SYS_clone = 0x8000, 56
for sig in list(range(0, 65)):
    pid = libc.syscall(SYS_clone, CLONE_PARENT | sig, 0, 0, 0, 0)
    if pid == 0:
        if sig == 17: os.execv("/bin/true", ["true"])
        os._exit(3)
if libc.syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0) == 0:
    time.sleep(1000)
time.sleep(0.3)
print("alive")
`)
		if out != "alive\n" {
			t.Error(out)
		}
	})
}

func TestInitStartsOnlyAsPID1(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Argv = []string{"/.tsubo/tsubo-init"}
		r := run(t, o, guesttest.Job{})
		if r.Status() != 1 || !strings.Contains(r.Stderr, "PID 1") {
			t.Errorf("%+v", r)
		}
	})
}

// Once the job's process exists, init keeps only the capabilities to kill and to read, and other
// processes cannot read init's memory.
func TestInitKeepsTwoCapabilities(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		const killAndRead = "0000000000000024"
		for _, want := range []string{
			"CapInh:\t0000000000000000\n", "CapPrm:\t" + killAndRead + "\n", "CapEff:\t" + killAndRead + "\n",
			"CapBnd:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n", "Threads:\t"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("no %q in:\n%s", want, status)
			}
		}
	})
}

// Root with the same capabilities may read a dumpable process, but not init. (The test checks this
// before the job's process starts. Its change of uid, in memory shared with init, would make init
// non-dumpable anyway.)
func TestInitIsNotDumpable(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		o.Argv = []string{"true"}
		s := guesttest.Boot(t, o)
		weak := func(argv ...string) *exec.Cmd {
			return exec.Command("setpriv", append([]string{"--inh-caps=-all",
				"--bounding-set=-all,+setuid,+setgid,+setpcap,+kill,+chown,+dac_read_search"}, argv...)...)
		}
		cat := func(pid int) error { return weak("cat", fmt.Sprintf("/proc/%d/environ", pid)).Run() }
		sleep := weak("sleep", "60")
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
		if cat(os.Getpid()) == nil {
			t.Error("the control: a process with every capability let itself be read")
		}
		for i := 0; cat(sleep.Process.Pid) != nil; i++ { // until its second exec
			if i == 100 {
				t.Fatal("the control: a dumpable process with the same capabilities could not be read")
			}
			time.Sleep(50 * time.Millisecond)
		}
		if cat(s.Pid()) == nil {
			t.Error("init let itself be read")
		}
	})
}

func TestInitIgnoresSignals(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		for _, sig := range []syscall.Signal{
			syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
			syscall.SIGPIPE, syscall.SIGALRM, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGURG, syscall.SIGCHLD} {
			if err := syscall.Kill(s.Pid(), sig); err != nil {
				t.Fatal(sig, err)
			}
		}
		if r := s.Run(guesttest.Job{Code: "print('on')"}); r.Stdout != "on\n" || r.Status() != 0 {
			t.Errorf("%+v", r)
		}
	})
}
