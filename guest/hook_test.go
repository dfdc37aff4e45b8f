package guest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// report prints everything about an interpreter that a program could detect.
const report = `
import sys
modules = list(sys.modules)
import os, gc, builtins, signal, threading, warnings, io
for name in ("argv orig_argv path flags meta_path path_hooks executable prefix warnoptions _xoptions "
    "dont_write_bytecode pycache_prefix platlibdir").split():
    print(name, getattr(sys, name, None))
print("importers", list(sys.path_importer_cache))
print("modules", modules)
for name in ("sitecustomize", "usercustomize"):
    m = sys.modules.get(name)
    print(name, m and (m.__file__, m.__spec__.origin, sorted(vars(m))))
print("environ", list(os.environ.items()))
print("environb", list(os.environb.items()))
child = os.popen("env")
print("child", child._stream.buffer.read())
child.close()
print("main", sorted(globals()), __file__, __name__, __spec__, __doc__,
    __cached__ if "__cached__" in globals() else None, type(__loader__))
print("builtins", [n for n in dir(builtins) if n != "_"])
print("threads", [t.name for t in threading.enumerate()], threading.current_thread() is threading.main_thread())
print("signals", [(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())]
    == [(s, signal.getsignal(s)) for s in signal.valid_signals()],
    [str(signal.getsignal(s)) for s in range(1, 32)])
print("mask", signal.pthread_sigmask(signal.SIG_BLOCK, []))
print("warnings", warnings.filters)
for f in (sys.stdin, sys.stdout, sys.stderr):
    print(f.name, f.encoding, f.errors, f.line_buffering, f.write_through, f.mode, f.fileno(), type(f.buffer).__name__)
print("fds", os.listdir("/proc/self/fd"))
print("cwd", os.getcwd(), os.umask(0o22), sys.getrecursionlimit(), sys.getswitchinterval(),
    gc.isenabled(), gc.get_threshold())
print("hooks", sys.excepthook, sys.displayhook, sys.unraisablehook, sys.gettrace(), sys.getprofile(),
    sys.breakpointhook)
found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple, set))
    and any(isinstance(x, str) and ".tsubo" in x for x in (o.values() if isinstance(o, dict) else o))
    and o is not globals()]
print("traces", [type(o) for o in found if "print" not in str(type(o))])
print("cmdline", open("/proc/self/cmdline").read().split("\0"), __import__("site").ENABLE_USER_SITE)
`

// interpreters returns the CPythons of this host besides /usr's: one per minor version that pyenv
// has installed.
func interpreters(t *testing.T) []string {
	t.Helper()
	list := []string{""}
	for _, minor := range []string{"3.8", "3.9", "3.10", "3.12", "3.13", "3.14"} {
		found, err := filepath.Glob("/root/.pyenv/versions/" + minor + ".*")
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			list = append(list, found[0])
		}
	}
	return list
}

// A program cannot detect whether its interpreter has waited.
func TestWaitingLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("good/sitecustomize.py", "import colorsys\nX = 1\n")
	write("raises/sitecustomize.py", "raise RuntimeError('no')\n")
	write("imports/sitecustomize.py", "import nonesuch\n")
	write("exits/sitecustomize.py", "raise SystemExit('bye')\n")
	write("user/usercustomize.py", "import colorsys\n")
	write("prints/sitecustomize.py", "import sys; print('site out'); print('site err', file=sys.stderr)\n")
	write("package/sitecustomize/__init__.py", "import sitecustomize.sub\n")
	write("package/sitecustomize/sub.py", "")
	envs := map[string][]string{
		"plain":         nil,
		"path":          {"PYTHONPATH=/image/none:/usr/share"},
		"empty path":    {"PYTHONPATH="},
		"empty entries": {"PYTHONPATH=:/usr/share:"},
		"relative":      {"PYTHONPATH=share:./share", "A=1"},
		"good":          {"PYTHONPATH=/image/good"},
		"raises":        {"PYTHONPATH=/image/raises"},
		"imports":       {"PYTHONPATH=/image/imports"},
		"exits":         {"PYTHONPATH=/image/exits"},
		"user":          {"PYTHONPATH=/image/user"},
		"prints":        {"PYTHONPATH=/image/prints"},
		"package":       {"PYTHONPATH=/image/package"},
		"options": {
			"PYTHONWARNINGS=error",
			"PYTHONDONTWRITEBYTECODE=1",
			"PYTHONHASHSEED=7",
			"PYTHONSAFEPATH=1",
			"PYTHONOPTIMIZE=1",
			"PYTHONDEVMODE=1",
		},
		"latin1": {
			"PYTHONIOENCODING=latin-1:replace",
			"LC_ALL=C",
			"PYTHONUTF8=0",
			"PYTHONCOERCECLOCALE=0",
			"NAME=\xff\xfe",
		},
		"no user site": {"PYTHONNOUSERSITE=1"},
	}
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Binds = []string{dir + ":/image"}
		o.Cwd = "/usr"
		for _, o.Python = range interpreters(t) {
			for name, env := range envs {
				if o.Runsc != "" && (name != "plain" && name != "good") {
					continue // caused by the interpreter on every kernel
				}
				o.Env = nil
				o.Env = append(env[:len(env):len(env)], guesttest.Env(o)...)
				t.Run(filepath.Base(o.Python)+"/"+name, func(t *testing.T) {
					waited := run(t, o,
						guesttest.Job{Code: report, Env: []string{"TSUBO_EXECUTION_TIMEOUT=3", "LANG=C.UTF-8"}})
					native := o
					native.Argv = []string{"python3", "-u", "/code/main.py"}
					want := run(t, native,
						guesttest.Job{Code: report, Env: []string{"TSUBO_EXECUTION_TIMEOUT=3", "LANG=C.UTF-8"}})
					if name == "exits" {
						// This is no real program: the interpreter cannot even start, and its last
						// message also shows the hook's frame.
						waited.Stderr, want.Stderr = "", ""
					}
					same(t, waited, want)
					if name != "exits" && !strings.Contains(want.Stdout, "\ncmdline ") {
						t.Errorf("the report is not complete:\n%s\n%s", want.Stdout, want.Stderr)
					}
				})
			}
		}
	})
}

var address = regexp.MustCompile(`0x[0-9a-f]+`)

// same compares the results of two runs of a program, line by line.
func same(t *testing.T, got, want guesttest.Result) {
	t.Helper()
	if got.Status() != want.Status() {
		t.Errorf("status %d, native %d", got.Status(), want.Status())
	}
	for _, s := range [][2]string{{got.Stdout, want.Stdout}, {got.Stderr, want.Stderr}} {
		g, w := strings.Split(address.ReplaceAllString(s[0], "0x"), "\n"), strings.Split(
			address.ReplaceAllString(s[1], "0x"), "\n")
		for i := range max(len(g), len(w)) {
			var a, b string
			if i < len(g) {
				a = g[i]
			}
			if i < len(w) {
				b = w[i]
			}
			if a != b {
				t.Errorf("line %d:\n  %q\nnative:\n  %q", i+1, a, b)
			}
		}
	}
}
