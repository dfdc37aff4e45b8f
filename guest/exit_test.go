package guest_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/guest/hook"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

const del = "class D:\n    def __init__(self, n='d'): self.n = n\n    def __del__(self): print('gone', self.n)\n"

// ends are programs, and whether the interpreter may leave to the kernel what it has.
var ends = []struct {
	name, code string
	short      bool
}{
	{"nothing", "pass", true},
	{"empty", "", true},
	{"prints", "print('x', end='')", true},
	{"functions", "def f(n): return n and f(n - 1)\nx = [f(i) for i in range(9)], {'a': (1,)}, lambda: x\n", true},
	{"objects", "class A(dict):\n    n = 1\n    def m(self): return self\na = A(); b = a.m; a['a'] = a\n", true},
	{"modules", "import json, re, math, datetime, collections, random\nprint(json.dumps({'a': [1]}), re.sub('a', 'b', 'aa'))\nc = collections.Counter('abc')\n", true},
	{"caught", "try: 1 / 0\nexcept ZeroDivisionError as e: x = e\n", true},
	{"reads", "with open('/input/data.json') as f: print(f.read())\ndel f\n", true},
	{"stderr", "import sys; print('e', file=sys.stderr)", true},
	{"main guard", "def main(): print(1)\nif __name__ == '__main__': main()\n", true},
	{"closed stdout", "import sys; sys.stdout.close()", true},
	{"fork", "import os\npid = os.fork()\nif pid: print(os.waitpid(pid, 0)[1])\n", true},

	{"del", del + "d = D()", false},
	{"del in order", del + "b, a, _c = D('b'), D('a'), D('c')", false},
	{"del of an int", "class D(int):\n    __slots__ = ()\n    def __del__(self): print('gone')\nx = {1: D(3)}", false},
	{"del in a cycle", del + "a, b = D(), D()\na.x, b.x = b, a\ndel a, b", false},
	{"del given later", "class D: pass\nd = D()\nD.__del__ = lambda s: print('gone')", false},
	{"del inherited", del + "class E(D): pass\ne = E()", false},
	{"del of a class", "class M(type):\n    def __del__(cls): print('gone', cls is not None)\nclass C(metaclass=M): pass", false},
	{"del given to others' class", "import os\nos._Environ.__del__ = lambda s: print('gone')", false},
	{"del in others' module", del + "import os\nos.x = D()", false},
	{"del raises", "class D:\n    def __del__(self): raise ValueError('x')\nd = D()", false},
	{"del after a collection", del + "d = D()\nimport gc; gc.collect()", false},
	{"del after two collections", del + "d = D()\nx = [[i] for i in range(90000)]", false},
	{"del in a frozen object", del + "d = D()\nimport gc; gc.freeze()", false},
	{"del in an object frozen in other words", del + "d = D()\n__import__('g' 'c').freeze()", false},
	{"del after one collection", del + "d = D()\nx = [[i] for i in range(3000)]", false},
	{"generator", "def g():\n    try: yield 1\n    finally: print('closed')\nx = g(); next(x)", false},
	{"generator with a file", "def g():\n    with open('/output/x', 'w') as f:\n        f.write('x'); yield\nx = g(); next(x)", false},
	{"coroutine", "async def f(): pass\nx = f()", false},
	{"weak reference", "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, lambda _: print('cb'))", false},
	{"finalizer", "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'fin')", true},
	{"file", "f = open('/output/x', 'w'); f.write('late')", false},
	{"file in a cycle", "f = open('/output/x', 'wb'); f.write(b'late'); x = [f]; x.append(x); del f, x", false},
	{"writer", "import io; w = io.BufferedWriter(io.FileIO(1, 'wb', closefd=False)); w.write(b'late')", false},
	{"other stdout", "import sys, io; sys.stdout = io.TextIOWrapper(io.FileIO(1, 'wb', closefd=False)); print('x')", false},
	{"no stdout", "import sys; sys.stdout = None", false},
	{"buffering stdout", "import sys; sys.stdout.reconfigure(write_through=False, line_buffering=False); print('x', end='')", false},
	{"buffering stdout fails", "import os, sys; sys.stdout.reconfigure(write_through=False, line_buffering=False); print('x', end=''); os.close(1)", false},
	{"exit", "import sys; sys.exit(3)", false},
	{"exit 0", "import sys; sys.exit(0)", false},
	{"exit True", "raise SystemExit(True)", false},
	{"exit with a text", "raise SystemExit('bye')", false},
	{"exit by name", "exit(4)", false},
	{"exit without a file", "import sys; del __file__; sys.exit(5)", false},
	{"exit without a file by globals", "import sys; globals().pop('__fi' 'le__'); sys.exit(6)", false},
	{"exit without a file by vars", "import sys; del vars()['__fi' 'le__']; sys.exit(7)", false},
	{"exit without a file by exec", "import sys; exec('del __fi' + 'le__'); sys.exit(8)", false},
	{"exit without a file by modules", "import sys; delattr(sys.modules['__main__'], '__fi' 'le__'); sys.exit(9)", false},
	{"exit with a big program", "#" + strings.Repeat("x", 40000) + "\nimport sys; sys.exit(10)", false},
	{"big program", "#" + strings.Repeat("x", 40000) + "\n", false},
	{"exception", "1 / 0", false},
	{"exception forgotten", "import sys\ndef h(*a): del sys.last_type\nsys.excepthook = h\n1 / 0", false},
	{"exception forgotten at exit", "import atexit, sys\natexit.register(lambda: [vars(sys).pop(n, 0) for n in ('last_type', 'last_value', 'last_exc')])\n1 / 0", false},
	{"interrupt", "raise KeyboardInterrupt", false},
	{"syntax", "def", false},
	{"thread", "import _thread, time\nl = _thread.allocate_lock(); l.acquire()\n_thread.start_new_thread(lambda: (l.release(), time.sleep(1000)), ())\nl.acquire()", false},
	{"threading", "import threading; threading.Thread(target=print, args=('t',)).start()", false},
	{"trace", "import sys\nsys.settrace(lambda f, e, a: print(e, f.f_code.co_name))", false},
	{"profile", "import sys\nsys.setprofile(lambda f, e, a: print(e, f.f_code.co_name) if e == 'call' else None)", false},
	{"audit", "import sys\nsys.addaudithook(lambda e, a: e.startswith('cpython.') and print(e))", false},
	{"atexit", "import atexit; atexit.register(print, 'at exit')", false},
	{"atexit run early", "import atexit; atexit.register(print, 'a'); atexit._run_exitfuncs(); print('goes on', atexit._ncallbacks())", false},
	{"atexit run early under another name", "m = __import__('at' 'exit'); m.register(print, 'a'); m._run_exitfuncs(); print('goes on')", false},
	{"inspect", "import os; os.environ['PYTHONIN' 'SPECT'] = '1'", false},
	{"warnings", "import warnings; warnings.simplefilter('always')\nf = open('/input/data.json')", false},
	{"another's builtins", "import builtins\nbuiltins.type = builtins.map = builtins.id = builtins.BaseException = None", true},
	{"another's metaclass", "class M(type):\n    def __hash__(c): print('hash'); return 1\n    def __eq__(c, d): print('eq'); return True\n" +
		"    def mro(c): return [c, object]\nclass C(metaclass=M): pass\nc = C()", true},
	{"another's class", "class C:\n    @property\n    def __class__(self): print('class')\n    def __getattr__(self, n): print('attribute', n)\nc = C()", true},
	{"another's object", "import select; p = select.poll()", false},
	{"sqlite", "import sqlite3; c = sqlite3.connect('/output/x'); c.execute('create table t(a)')", false},
}

// The end of an interpreter that waited is the native one, whatever it leaves out.
func TestEndIsNative(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for _, python := range interpreters(t) {
			o := o // the tests run when this loop is over
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

// The way out is taken where it may be, and nowhere else: here it is a hook that says so.
func TestShortcut(t *testing.T) {
	const way = "if myself() == me:"
	files := hook.Files()
	b := files["python/sitecustomize.py"]
	if bytes.Count(b, []byte(way)) != 1 {
		t.Fatal("the hook has another way out")
	}
	dir := t.TempDir()
	b = bytes.Replace(b, []byte(way), []byte("if __import__('os').write(1, b'<short>') and myself() == me:"), 1)
	if err := os.WriteFile(filepath.Join(dir, "sitecustomize.py"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	here(t, func(t *testing.T, o guesttest.Options) {
		o.Hook = dir
		for _, python := range interpreters(t) {
			o := o // the tests run when this loop is over
			o.Python = python
			old := strings.HasPrefix(filepath.Base(python), "3.8.") || strings.HasPrefix(filepath.Base(python), "3.9.")
			for _, tt := range ends {
				t.Run(filepath.Base(o.Python)+"/"+tt.name, func(t *testing.T) {
					t.Parallel()
					r := run(t, o, guesttest.Job{Code: tt.code + "\n", Stdin: "print('inspected')\n"})
					if short := strings.Contains(r.Stdout, "<short>"); short != (tt.short && !old) {
						t.Errorf("taken %v, want %v: %+v", short, tt.short && !old, r)
					}
				})
			}
		}
	})
}

// What ends well may rest until the answer is out, and is killed then; whoever else is left is killed before.
func TestRestsAlone(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for code, left := range map[string]int{"pass": 1, "import os, time\nos.fork() or time.sleep(1000)\n": 0} {
			s := guesttest.Boot(t, o)
			ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", s.Pid()))
			if err != nil {
				t.Fatal(err)
			}
			if r := s.Run(guesttest.Job{Code: code}); r.Status() != 0 || r.Done == nil {
				t.Errorf("%s: %+v", code, r)
			}
			if n := living(t, ns) - 1; n > left {
				t.Errorf("%s: %d processes are left, want %d at most", code, n, left)
			}
			for start := time.Now(); living(t, ns) > 1; time.Sleep(time.Millisecond) {
				if time.Since(start) > time.Minute {
					t.Fatalf("%s: it rests for ever", code)
				}
			}
		}
	})
}

// living counts the processes of a namespace but for zombies.
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

// A process that stops itself has ended only where it says so by its niceness.
func TestRest(t *testing.T) {
	const stop = "import os, signal\nprint('now')\nos.setpriority(os.PRIO_PROCESS, 0, %s)\nos.kill(os.getpid(), signal.%s)\nprint('goes on')\n"
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Argv = []string{"python3", "-u", "/code/main.py"}
		for _, tt := range []struct {
			nice, signal string
			want         int
		}{{"13", "SIGSTOP", 0}, {"12", "SIGSTOP", 137}, {"19", "SIGSTOP", 137}} {
			r := run(t, o, guesttest.Job{Code: fmt.Sprintf(stop, tt.nice, tt.signal), StopAt: map[bool]string{true: "now\n"}[tt.want != 0]})
			if r.Status() != tt.want || r.Stdout != "now\n" {
				t.Errorf("niceness %s, %s: %+v", tt.nice, tt.signal, r)
			}
		}
	})
}
