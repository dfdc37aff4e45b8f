package guest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// A program whose file has another name than the interpreter's first argument sees the same
// environment as the default program.
func TestPythonProgramOfAnotherName(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Cwd = "/output"
		for _, o.Python = range interpreters(t) {
			for name, env := range map[string][]string{
				"plain": nil, "path": {"PYTHONPATH=/usr/share"}, "C locale": {"LC_ALL=", "LANG=", "LC_CTYPE="},
				"bytes": {"NAME=\xff\xfe", "PYTHONUTF8=1"},
			} {
				if o.Runsc != "" && name != "plain" {
					continue // caused by the interpreter on every kernel
				}
				o.Env = nil
				o.Env = append(env[:len(env):len(env)], guesttest.Env(o)...)
				t.Run(filepath.Base(o.Python)+"/"+name, func(t *testing.T) {
					j := guesttest.Job{
						Code: report + `
print("stdin", input())
print("ignored", [l for l in open("/proc/self/status") if l.startswith("Sig")])
import subprocess
print("child", subprocess.run(["grep", "^Sig", "/proc/self/status"], capture_output=True, restore_signals=False).stdout)
import helper, pack.deep.sub
print(helper.X, pack.deep.sub.Y, helper.__file__)
1 / 0
`,
						Program: "app.py", Args: []string{"a", "é", ""}, Env: []string{"LANG=C.UTF-8", "K=V=W"},
						Stdin: "line\n",
						Modules: map[string]string{
							"helper.py":        "X = 1",
							"pack/deep/sub.py": "Y = 2",
							"pack/__init__.py": "",
						},
					}
					waited := run(t, o, j)
					native := o
					native.Argv = []string{"python3", "-u", "/code/app.py"}
					want := run(t, native, j)
					same(t, waited, want)
					if !strings.Contains(want.Stdout, "\n1 2 /code/helper.py") ||
						!strings.Contains(want.Stderr, `File "/code/app.py", line `) {
						t.Errorf("the report is not complete:\n%s\n%s", want.Stdout, want.Stderr)
					}
				})
			}
		}
	})
}

// The same for Node.js, which recognizes an ES module by its file extension.
func TestNodeProgramOfAnotherName(t *testing.T) {
	const common = `
console.log(process.argv, process.execArgv, process.argv0, typeof process.mainModule);
const { Worker } = await import('node:worker_threads');
const worker = new Worker('console.log(process.argv.length)', { eval: true });
await new Promise((done) => worker.on('exit', done));
`
	const checkRunMain = `
const { default: Module } = await import('node:module');
console.log(Object.getOwnPropertyDescriptor(Module, 'runMain'));
console.log(Object.getOwnPropertyDescriptor(Module, 'runMain') === undefined, process._preload_modules);
setTimeout(() => { throw new Error('late') }, 50);
`
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Node, o.Cwd = true, "/output"
		for name, code := range map[string]string{
			"app.mjs": "import { X } from './helper.mjs';\nconsole.log(X, import.meta.url);" + common + checkRunMain,
			"app.cjs": "const { X } = require('./helper.cjs');\nconsole.log(X, __filename, " +
				"require.main === module, require.main.filename, module.children.length);(async () => {" +
				common + checkRunMain + "})();",
			"app.js":  "console.log(require('./pack/deep').Y, new Error('here').stack);\nthrow new TypeError('end');",
			"esm.js":  "import fs from 'fs';\nconsole.log(fs.constants.O_RDONLY);",
			"main.js": "console.log(require('./pack/deep').Y, process.argv);",
		} {
			t.Run(name, func(t *testing.T) {
				j := guesttest.Job{
					Code: code, Program: name, Args: []string{"a", ""}, Env: []string{"K=V"},
					Modules: map[string]string{
						"helper.mjs":         "export const X = 1;",
						"helper.cjs":         "exports.X = 1;",
						"pack/deep/index.js": "exports.Y = 2;",
					},
				}
				waited := run(t, o, j)
				native := o
				native.Argv = []string{"node", "/code/" + name}
				same(t, waited, run(t, native, j))
			})
		}
		t.Run("package.json", func(t *testing.T) {
			j := guesttest.Job{
				Code:    "import fs from 'fs';\nconsole.log(import.meta.url);",
				Modules: map[string]string{"package.json": `{"type": "module"}`},
			}
			dir := t.TempDir()
			if err := errors.Join(os.Chmod(dir, 0o755),
				os.WriteFile(filepath.Join(dir, "ahead.js"), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			o.Preload, o.Binds = []string{"ahead"}, []string{dir + ":/node_modules"}
			if r := run(t, o, j); r.Stdout != "file:///code/main.js\n" {
				t.Errorf("%q, %q", r.Stdout, r.Stderr)
			}
		})
	})
}

// A job's files may be in directories, which the job cannot change.
func TestFilesInFolders(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{
			Files: map[string]string{
				"1/2/3/4/5/6/7/deep": "d",
				"1/2/other":          "o",
			}, Modules: map[string]string{"pack/m.py": ""},
			Code: `
import os
print(open("/input/1/2/3/4/5/6/7/deep").read(), open("/input/1/2/other").read(), os.listdir("/code/pack"))
for d in "/input/1", "/input/1/2/3", "/code/pack":
    st = os.stat(d)
    print(oct(st.st_mode), st.st_uid)
    try: open(d + "/new", "w")
    except OSError as e: print(e.errno)
    try: os.rename(d, d + "2")
    except OSError as e: print(e.errno)
`})
		if want := "d o ['m.py']\n" + strings.Repeat("0o40755 0\n13\n13\n", 3); r.Stdout != want {
			t.Errorf("%q, %q: want %q", r.Stdout, r.Stderr, want)
		}
	})
}

// A file with a relative name becomes an artifact, and the home directory exists and belongs to the
// job.
func TestHomeAndWorkingDirectory(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.Cwd = "/output"
		r := run(t, o, guesttest.Job{Code: `
import os, stat
st = os.stat(os.path.expanduser("~"))
print(os.path.expanduser("~"), oct(st.st_mode), st.st_uid, st.st_gid, os.listdir("/tmp"))
os.makedirs(os.path.expanduser("~/.config/tool"))
open("plot.png", "w").write("x")
`})
		if r.Stdout != "/tmp/home 0o40700 1000 1000 ['home']\n" || r.Artifacts["plot.png"] != "x" {
			t.Errorf("%q, %q, %v", r.Stdout, r.Stderr, r.Artifacts)
		}
	})
}

// The working directory of a job type must exist; the working directory of an image need not.
func TestWorkingDirectoryMissing(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		o.Cwd = "/nowhere"
		if r := run(t, o, guesttest.Job{Code: "import os; print(os.getcwd())"}); r.Stdout != "/\n" {
			t.Errorf("%q, %q", r.Stdout, r.Stderr)
		}
		s := guesttest.Start(t, o)
		b := guesttest.BootMessage(o)
		b.CwdRequired = true
		s.Send(b)
		m, err := s.Next()
		f, _ := m.(frames.Fatal)
		want := "the working directory /nowhere is not a directory of the image"
		if f.Stage != frames.StageExec || f.Message != want {
			t.Errorf("%#v, %v: want %q", m, err, want)
		}
	})
}
