package guest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// modules writes the modules to preload below a directory that the sandbox shows as /image, and
// returns the options.
func modules(t *testing.T, o guesttest.Options, files map[string]string) guesttest.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, code := range files {
		if err := os.WriteFile(filepath.Join(dir, name+".py"), []byte(code), 0o644); err != nil {
			t.Fatal(err)
		}
		o.Preload = append(o.Preload, name)
	}
	o.Binds = []string{dir + ":/image"}
	o.Env = append(guesttest.Env(o), "PYTHONPATH=/image")
	return o
}

// A program finds the preloaded modules, and everything else unchanged.
func TestPreload(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o = modules(t, o, map[string]string{
			"ahead": "import os, sys\nseen = sys.argv, sys.path[:], os.getcwd(), os.environ['PYTHONPATH'], " +
				"'__file__' in vars(sys.modules['__main__'])\n",
		})
		o.Cwd = "/usr"
		o.Preload = append([]string{"json", "xml.etree.ElementTree"}, o.Preload...)
		code := `
import sys
modules = [m in sys.modules for m in ("json", "xml.etree.ElementTree", "ahead")]
import ahead, os
print(modules)
print(ahead.seen)
print(sys.argv, sys.path, os.getcwd(), os.environ["PYTHONPATH"], __name__, __file__,
    sorted(vars(sys.modules["__main__"])), os.listdir("/proc/self/fd"))
`
		r := run(t, o, guesttest.Job{Code: code, Args: []string{"a"}, Env: []string{"PYTHONUSERBASE=/x"}})
		o.Preload, o.Argv = nil, []string{"python3", "-u", "/code/main.py"}
		native := run(t, o, guesttest.Job{Code: code, Args: []string{"a"}, Env: []string{"PYTHONUSERBASE=/x"}})
		got, want := strings.Split(r.Stdout, "\n"), strings.Split(native.Stdout, "\n")
		if len(got) != 4 || len(want) != 4 || got[0] != "[True, True, True]" || got[2] != want[2] {
			t.Errorf("got %+v\nnative %+v", r, native)
		}
		if !strings.HasPrefix(got[1],
			"(['/code/main.py', 'a'], ['/image', ") || !strings.HasSuffix(got[1], ", '/usr', '/image', False)") {
			t.Errorf("the module saw %s", got[1])
		}
	})
}

// A module that cannot wait for a job fails the boot with the reason.
func TestPreloadRefused(t *testing.T) {
	for name, tt := range map[string]struct{ code, want string }{
		"missing":  {"import nonesuch", "cannot preload bad: ModuleNotFoundError: No module named 'nonesuch'"},
		"raises":   {"raise ValueError('no\\nway')", "cannot preload bad: ValueError: no?way"},
		"syntax":   {"def", "cannot preload bad: SyntaxError: "},
		"textless": {"class E(Exception):\n    def __str__(self): raise E\nraise E", "an exception that has no text"},
		"wordy":    {"raise ValueError('x' * 100000)", "cannot preload bad: ValueError: xxx"},
		"exits":    {"raise SystemExit(0)", "cannot preload bad: SystemExit: 0"},
		"ends":     {"import os; os._exit(0)", "the interpreter ended before it was ready, with exit code 0"},
		"dies": {
			"import os; os.kill(os.getpid(), 9)", "the interpreter ended before it was ready, with signal 9",
		},
		"prints":     {"print('hello')", "writes output"},
		"prints err": {"import os; os.write(2, b'x')", "writes output"},
		"thread": {
			"import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
			"starts threads when it is imported (1)",
		},
		"child": {
			"import os, time\nif os.fork() == 0: time.sleep(1000)", "leaves processes when it is imported (1)",
		},
		"orphan": {"import os, time\npid = os.fork()\nif pid == 0:\n    os.setsid()\n    if os.fork() == 0:\n" +
			"        os.closerange(0, 9)\n        time.sleep(1000)\n    os._exit(0)\n" +
			"os.waitpid(pid, 0)", "leaves processes when it is imported (1)"},
		"closes":   {"import os; os.close(3)", "the interpreter ended before it was ready"},
		"speaks":   {"import os; os.write(3, b'R'); import time; time.sleep(0.1)", ""},
		"babbles":  {"import os; os.write(3, b'xyz'); import time; time.sleep(1000)", "did not wait"},
		"no words": {"import os; os.write(3, b'F\\xff\\0\\n'); import time; time.sleep(1000)", "???"},
	} {
		t.Run(name, func(t *testing.T) {
			here(t, func(t *testing.T, o guesttest.Options) {
				o = modules(t, o, map[string]string{"bad": tt.code + "\n"})
				s := guesttest.Start(t, o)
				s.Send(guesttest.BootMessage(o))
				m, err := s.Next()
				f, failed := m.(frames.Fatal)
				if tt.want == "" { // the text is the module's own, so a forgery gains nothing
					if failed {
						t.Errorf("got %#v, %v", m, err)
					}
					return
				}
				if !failed || f.Stage != frames.StageExec || !strings.Contains(f.Message, tt.want) {
					t.Errorf("got %#v, %v; want %q", m, err, tt.want)
				}
			})
		})
	}
}

// A module that hangs keeps the sandbox from becoming ready, and ends when the daemon closes the
// socket.
func TestPreloadHangs(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		o = modules(t, o, map[string]string{"bad": "import time; time.sleep(1000)"})
		s := guesttest.Start(t, o)
		s.Send(guesttest.BootMessage(o))
		s.Close()
	})
}

// A job's changes to the modules are invisible to the next job.
func TestPreloadIsNotShared(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o = modules(t, o, map[string]string{"ahead": "x = ['as imported']\n"})
		code := `
import ahead, json, os
print(ahead.x, json.loads.__module__)
ahead.x.append("spoilt"); json.loads = None
for path in (ahead.__file__, json.__file__, ahead.__spec__.cached, json.__spec__.cached):
    for f in (lambda: open(path, "a"), lambda: os.unlink(path), lambda: os.rename(path, path + "x"),
              lambda: os.chmod(path, 0o777),
              lambda: open(os.path.dirname(path) + "/new.py", "w"),
              lambda: os.mkdir(os.path.dirname(path) + "/__pycache__")):
        try: f()
        except OSError: pass
        else: print("written", path)
`
		for range 2 {
			r := run(t, o, guesttest.Job{Code: code})
			if r.Stdout != "['as imported'] json\n" || r.Status() != 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}
