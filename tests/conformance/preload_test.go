package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
	"github.com/tsubo-run/tsubo/tests/need"
)

// nodeHere is a Node.js of the image in namespaces of this kernel.
func nodeHere(t *testing.T) guesttest.Options {
	t.Helper()
	need.Root(t)
	if strict() {
		t.Skip("it is the same interpreter as on a host without a daemon, and an emulated one is slow")
	}
	return guesttest.Options{Node: true, Root: unpack(t, node.layout(t)).root, Cwd: "/"}
}

// modules puts files where the interpreter sees them, below /modules.
func modules(t *testing.T, o guesttest.Options, files map[string]string) guesttest.Options {
	t.Helper()
	dir := t.TempDir()
	err := os.Chmod(dir, 0o755)
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	o.Binds = append(o.Binds, dir+":/modules")
	return o
}

// NODE_OPTIONS of a job type has its effect, in its place: what it loads is loaded with the job's
// arguments, and finds nothing of the hook.
func TestNodeOptionsOfType(t *testing.T) {
	const tell = `console.log(__filename, process.argv, process.env.NODE_OPTIONS, process._preload_modules, module.parent.id, module.parent.children.map((m) => m.id), Object.keys(require.cache));`
	o := modules(t, nodeHere(t), map[string]string{"a.js": tell, "b.js": tell})
	o.Env = append(guesttest.Env(o), "NODE_OPTIONS=--require /modules/a.js -r /modules/b.js --stack-trace-limit=3 --title=named")
	p := program{code: "console.log(process._preload_modules, process.env.NODE_OPTIONS, process.execArgv, Error.stackTraceLimit, process.title);", args: []string{"x"}}
	command := o
	command.Argv = node.argv
	got := inGuest(t, o, p)
	differ(t, got, inGuest(t, command, p))
	if !strings.Contains(got.stdout, "/modules/b.js [") || got.status != 0 {
		t.Errorf("%+v", got)
	}
}

// What a type preloads is loaded already when the program asks for it, and else the program finds
// nothing of it.
func TestNodePreload(t *testing.T) {
	o := nodeHere(t)
	o.Preload = []string{"fs/promises", "node:zlib", "acorn"}
	r := guesttest.Boot(t, o).Run(guesttest.Job{Code: `
const acorn = Object.keys(require.cache).filter((f) => f.includes('acorn'));
console.log(acorn.length > 0, process.moduleLoadList.includes('NativeModule zlib'), process.env.NODE_OPTIONS, module.children.length);
const before = process.moduleLoadList.length;
require('zlib'); require('acorn'); require('fs/promises');
console.log(process.moduleLoadList.length - before, Object.keys(require.cache).length === acorn.length + 1);
`})
	if r.Status() != 0 || r.Stdout != "true true undefined 0\n0 true\n" {
		t.Errorf("%+v", r)
	}
}

// A module that cannot be preloaded is the type's fault, and is shown by its name.
func TestNodeCannotPreload(t *testing.T) {
	o := modules(t, nodeHere(t), map[string]string{
		"busy.js":   "setInterval(() => {}, 1000);",
		"odd.js":    "throw Object.create(null);",
		"silent.js": "process.exit(0);",
		"loud.js":   "console.log('loaded');",
		"looks.js":  "process.stdout.isTTY;",
		"closes.js": "require('fs').closeSync(3);",
	})
	for name, want := range map[string]string{
		"/modules/busy.js":   "cannot preload /modules/busy.js: it leaves work to be done: Timeout",
		"/modules/odd.js":    "cannot preload /modules/odd.js: an exception that has no text",
		"/modules/silent.js": "the interpreter ended before it was ready, with exit code 0",
		"/modules/loud.js":   "a preloaded module writes output",
		"/modules/closes.js": "the interpreter ended before it was ready, with exit code 1",
		"nonesuch":           "cannot preload nonesuch: Error: Cannot find module 'nonesuch'",
		"node:x":             "cannot preload node:x: Error [ERR_UNKNOWN_BUILTIN_MODULE]: No such built-in module: node:x",
	} {
		o.Preload = []string{"fs", "/modules/looks.js", name}
		s := guesttest.Start(t, o)
		s.Send(guesttest.BootMessage(o))
		m, err := s.Next()
		f, ok := m.(frames.Fatal)
		if !ok || f.Stage != frames.StageExec || !strings.HasPrefix(f.Message, want) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
