package conformance

import (
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

// nodeHere is a Node.js of the image in namespaces of this kernel.
func nodeHere(t *testing.T) guesttest.Options {
	t.Helper()
	guesttest.Root(t)
	if served() {
		t.Skip("it is the same interpreter as on a host without a daemon, and an emulated one is slow")
	}
	return guesttest.Options{Node: true, Root: unpack(t, node.layout(t)).root, Cwd: "/"}
}

// What a type preloads is loaded already when the program asks for it, and else the program finds nothing of it.
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

// A module that cannot be preloaded is the type's fault, and is told by its name.
func TestNodeCannotPreload(t *testing.T) {
	o := nodeHere(t)
	for name, want := range map[string]string{
		"nonesuch": "cannot preload nonesuch: Error: Cannot find module 'nonesuch'",
		"node:x":   "cannot preload node:x: Error [ERR_UNKNOWN_BUILTIN_MODULE]: No such built-in module: node:x",
	} {
		o.Preload = []string{"fs", name}
		s := guesttest.Start(t, o)
		s.Send(guesttest.BootMessage(o))
		m, err := s.Next()
		f, ok := m.(frames.Fatal)
		if !ok || f.Stage != frames.StageExec || !strings.HasPrefix(f.Message, want) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}
