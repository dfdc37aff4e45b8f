// Package hook holds the files that make an image's own interpreter, CPython or Node.js, wait for
// its code. tsubo-init starts the interpreter with them and sends it the job (package guest,
// hook.go). The package is separate from guest so that the daemon can build /.tsubo without linking
// init.
package hook

import _ "embed"

//go:embed sitecustomize.py
var python []byte

// python311 is python compiled for CPython 3.11, which loads it unchecked (PEP 552) and saves 2 ms
// per boot. Other versions compile python themselves.
//
//go:embed sitecustomize.cpython-311.pyc
var python311 []byte

//go:embed node/wait.js
var nodeWait []byte

//go:embed node/warm.js
var nodeWarm []byte

// Files returns the files below /.tsubo of every sandbox, by relative path. The caller owns the
// contents.
func Files() map[string][]byte {
	return map[string][]byte{
		"python/sitecustomize.py":                          append([]byte(nil), python...),
		"python/__pycache__/sitecustomize.cpython-311.pyc": append([]byte(nil), python311...),
		"node/wait.js": append([]byte(nil), nodeWait...),
		"node/warm.js": append([]byte(nil), nodeWarm...),
	}
}
