package guest_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

const del = "class D:\n    def __init__(self, n='d'): self.n = n\n    def __del__(self): print('gone', self.n)\n"

// ends are programs that exit in many ways.
var ends = []struct{ name, code string }{
	{"nothing", "pass"},
	{"empty", ""},
	{"prints", "print('x', end='')"},
	{"functions", "def f(n): return n and f(n - 1)\nx = [f(i) for i in range(9)], {'a': (1,)}, lambda: x\n"},
	{"objects", "class A(dict):\n    n = 1\n    def m(self): return self\na = A(); b = a.m; a['a'] = a\n"},
	{
		"modules",
		"import json, re, math, datetime, collections, random\n" +
			"print(json.dumps({'a': [1]}), re.sub('a', 'b', 'aa'))\nc = collections.Counter('abc')\n",
	},
	{"caught", "try: 1 / 0\nexcept ZeroDivisionError as e: x = e\n"},
	{"reads", "with open('/input/data.json') as f: print(f.read())\ndel f\n"},
	{"stderr", "import sys; print('e', file=sys.stderr)"},
	{"main guard", "def main(): print(1)\nif __name__ == '__main__': main()\n"},
	{"closed stdout", "import sys; sys.stdout.close()"},
	{"fork", "import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\n"},

	{"del", del + "d = D()"},
	{"del in order", del + "b, a, _c = D('b'), D('a'), D('c')"},
	{"del of an int", "class D(int):\n    __slots__ = ()\n    def __del__(self): print('gone')\nx = {1: D(3)}"},
	{"del in a cycle", del + "a, b = D(), D()\na.x, b.x = b, a\ndel a, b"},
	{"del given later", "class D: pass\nd = D()\nD.__del__ = lambda s: print('gone')"},
	{"del inherited", del + "class E(D): pass\ne = E()"},
	{
		"del of a class",
		"class M(type):\n    def __del__(cls): print('gone', cls is not None)\nclass C(metaclass=M): pass",
	},
	{"del given to others' class", "import os\nos._Environ.__del__ = lambda s: print('gone')"},
	{"del in others' module", del + "import os\nos.x = D()"},
	{"del raises", "class D:\n    def __del__(self): raise ValueError('x')\nd = D()"},
	{"del after a collection", del + "d = D()\nimport gc; gc.collect()"},
	{"del after two collections", del + "d = D()\nx = [[i] for i in range(90000)]"},
	{"del in a frozen object", del + "d = D()\nimport gc; gc.freeze()"},
	{"del in an object frozen in other words", del + "d = D()\n__import__('g' 'c').freeze()"},
	{"del after one collection", del + "d = D()\nx = [[i] for i in range(3000)]"},
	{"generator", "def g():\n    try: yield 1\n    finally: print('closed')\nx = g(); next(x)"},
	{
		"generator with a file",
		"def g():\n    with open('/output/x', 'w') as f:\n        f.write('x'); yield\nx = g(); next(x)",
	},
	{"coroutine", "async def f(): pass\nx = f()"},
	{"weak reference", "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, lambda _: print('cb'))"},
	{"finalizer", "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'fin')"},
	{"file", "f = open('/output/x', 'w'); f.write('late')"},
	{"file in a cycle", "f = open('/output/x', 'wb'); f.write(b'late'); x = [f]; x.append(x); del f, x"},
	{"writer", "import io; w = io.BufferedWriter(io.FileIO(1, 'wb', closefd=False)); w.write(b'late')"},
	{"other stdout", "import sys, io; sys.stdout = io.TextIOWrapper(io.FileIO(1, 'wb', closefd=False)); print('x')"},
	{"no stdout", "import sys; sys.stdout = None"},
	{
		"buffering stdout",
		"import sys; sys.stdout.reconfigure(write_through=False, line_buffering=False); print('x', end='')",
	},
	{
		"buffering stdout fails",
		"import os, sys; sys.stdout.reconfigure(write_through=False, line_buffering=False); print('x', end=''); " +
			"os.close(1)",
	},
	{"exit", "import sys; sys.exit(3)"},
	{"exit 0", "import sys; sys.exit(0)"},
	{"exit True", "raise SystemExit(True)"},
	{"exit with a text", "raise SystemExit('bye')"},
	{"exit by name", "exit(4)"},
	{"exit without a file", "import sys; del __file__; sys.exit(5)"},
	{"exit without a file by globals", "import sys; globals().pop('__fi' 'le__'); sys.exit(6)"},
	{"exit without a file by vars", "import sys; del vars()['__fi' 'le__']; sys.exit(7)"},
	{"exit without a file by exec", "import sys; exec('del __fi' + 'le__'); sys.exit(8)"},
	{"exit without a file by modules", "import sys; delattr(sys.modules['__main__'], '__fi' 'le__'); sys.exit(9)"},
	{"exit with a big program", "#" + strings.Repeat("x", 40000) + "\nimport sys; sys.exit(10)"},
	{"big program", "#" + strings.Repeat("x", 40000) + "\n"},
	{"exception", "1 / 0"},
	{"exception forgotten", "import sys\ndef h(*a): del sys.last_type\nsys.excepthook = h\n1 / 0"},
	{
		"exception forgotten at exit",
		"import atexit, sys\n" +
			"atexit.register(lambda: [vars(sys).pop(n, 0) for n in ('last_type', 'last_value', 'last_exc')])\n1 / 0",
	},
	{"interrupt", "raise KeyboardInterrupt"},
	{"syntax", "def"},
	{
		"thread",
		"import _thread, time\nl = _thread.allocate_lock(); l.acquire()\n" +
			"_thread.start_new_thread(lambda: (l.release(), time.sleep(1000)), ())\nl.acquire()",
	},
	{"threading", "import threading; threading.Thread(target=print, args=('t',)).start()"},
	{"trace", "import sys\nsys.settrace(lambda f, e, a: print(e, f.f_code.co_name))"},
	{"profile", "import sys\nsys.setprofile(lambda f, e, a: print(e, f.f_code.co_name) if e == 'call' else None)"},
	{"audit", "import sys\nsys.addaudithook(lambda e, a: e.startswith('cpython.') and print(e))"},
	{"atexit", "import atexit; atexit.register(print, 'at exit')"},
	{
		"atexit run early",
		"import atexit; atexit.register(print, 'a'); atexit._run_exitfuncs(); print('goes on', atexit._ncallbacks())",
	},
	{
		"atexit run early under another name",
		"m = __import__('at' 'exit'); m.register(print, 'a'); m._run_exitfuncs(); print('goes on')",
	},
	{"inspect", "import os; os.environ['PYTHONIN' 'SPECT'] = '1'"},
	{"warnings", "import warnings; warnings.simplefilter('always')\nf = open('/input/data.json')"},
	{
		"another's builtins",
		"import builtins\nbuiltins.type = builtins.map = builtins.id = builtins.BaseException = None",
	},
	{
		"another's metaclass",
		"class M(type):\n    def __hash__(c): print('hash'); return 1\n" +
			"    def __eq__(c, d): print('eq'); return True\n" +
			"    def mro(c): return [c, object]\nclass C(metaclass=M): pass\nc = C()",
	},
	{
		"another's class",
		"class C:\n    @property\n    def __class__(self): print('class')\n" +
			"    def __getattr__(self, n): print('attribute', n)\nc = C()",
	},
	{"another's object", "import select; p = select.poll()"},
	{"sqlite", "import sqlite3; c = sqlite3.connect('/output/x'); c.execute('create table t(a)')"},
}

// An interpreter that waited exits as the native interpreter does.
func TestEndIsNative(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for _, python := range interpreters(t) {
			o := o // the parallel tests run after this loop
			o.Python = python
			for _, tt := range ends {
				t.Run(filepath.Base(o.Python)+"/"+tt.name, func(t *testing.T) {
					t.Parallel()
					j := guesttest.Job{Code: tt.code + "\n", Stdin: "print('inspected')\n"}
					waited := run(t, o, j)
					native := o
					native.Argv = []string{"python3", "-u", "/code/main.py"}
					want := run(t, native, j)
					same(t, waited, want)
					if !maps.Equal(waited.Artifacts, want.Artifacts) {
						t.Errorf("artifacts %q, native %q", waited.Artifacts, want.Artifacts)
					}
				})
			}
		}
	})
}

// No process of a job runs after Exit, however the job ends.
func TestNothingRunsAfterExit(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for _, code := range []string{
			"pass", "import os, time\nos.fork() or time.sleep(1000)\n",
			"import os, signal\nos.fork() or os.kill(os.getpid(), signal.SIGSTOP)\n",
		} {
			s := guesttest.Boot(t, o)
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", s.Pid()))
			if err != nil {
				t.Fatal(err)
			}
			s.Give(guesttest.Job{Code: code})
			s.Send(frames.Go{})
			for ended := false; !ended; {
				m, err := s.Next()
				if err != nil {
					t.Fatal(err)
				}
				x, exit := m.(frames.Exit)
				if ended = exit; exit && (x.Code != 0 || x.Signal != 0 || x.Survivors) {
					t.Errorf("%s: %+v", code, x)
				}
			}
			if n := living(t, ns) - 1; n != 0 {
				t.Errorf("%s: %d processes are left", code, n)
			}
		}
	})
}

// living counts the processes of a namespace, without zombies.
func living(t *testing.T, ns string) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		of, err := os.Readlink(dir + "/ns/pid")
		stat, err2 := os.ReadFile(dir + "/stat")
		if err == nil && err2 == nil && of == ns && !bytes.Contains(stat, []byte(") Z ")) {
			n++
		}
	}
	return n
}

// A stopped process has not exited, whoever stopped it and whatever its niceness. Only its death
// ends the job.
func TestStoppedIsNoEnd(t *testing.T) {
	// A second process waits until the first is stopped, gives init time to notice, and reports.
	const watch = `
import ctypes, os, signal, subprocess, sys, time
me = os.getpid()
if os.fork() == 0:
    while open("/proc/%d/stat" % me).read().rpartition(")")[2].split()[0] not in "Tt":
        time.sleep(0.01)
    time.sleep(0.5)
    os.write(1, b"stopped\n")
    time.sleep(1000)
`
	programs := map[string]string{
		// A subprocess of the program stops the program.
		"by a child": "subprocess.run([sys.executable, '-c', 'import os; p = os.getppid(); " +
			"os.setpriority(os.PRIO_PROCESS, p, 13); os.kill(p, 19)'])\n",
		// PTRACE_TRACEME makes init, its parent, the tracer, which receives each stop.
		"traced": "ctypes.CDLL(None).ptrace(0, 0, 0, 0)\nos.kill(me, signal.SIGSTOP)\n",
	}
	for _, nice := range []string{"12", "13", "19"} {
		programs["niceness "+nice] = "os.setpriority(os.PRIO_PROCESS, 0, " + nice + ")\nos.kill(me, signal.SIGSTOP)\n"
	}
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for name, code := range programs {
			r := run(t, o, guesttest.Job{Code: watch + code + "print('goes on')\nsys.exit(1)\n", StopAt: "stopped\n"})
			if r.Status() != 137 || r.Stdout != "stopped\n" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	})
}

// A process that stops and continues has not exited in between. Its end is its own exit, and its
// output is complete.
func TestStoppedAndWoken(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{Code: `
import os, signal, time
proof = os.open("/output/proof", os.O_RDWR | os.O_CREAT)
os.setpriority(os.PRIO_PROCESS, 0, 13)
me = os.getpid()
if os.fork() == 0:
    while True:
        time.sleep(0.005)
        os.kill(me, signal.SIGCONT)
print("now")
os.kill(me, signal.SIGSTOP)
os.write(proof, b"woken")
print("goes on")
os._exit(7)
`})
		if r.Status() != 7 || r.Stdout != "now\ngoes on\n" || r.Artifacts["proof"] != "woken" {
			t.Errorf("%+v", r)
		}
	})
}
