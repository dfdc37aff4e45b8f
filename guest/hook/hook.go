// Package hook holds the files that make an image's own interpreter wait for its code, CPython or Node.js; tsubo-init starts the interpreter with
// them and tells it when to go on (package guest, hook.go). It is apart from package guest so that the daemon can build /.tsubo without linking init.
package hook

import _ "embed"

//go:embed sitecustomize.py
var python []byte

// python311 is python compiled for CPython 3.11, which takes it unchecked (PEP 552) and saves 2 ms at each boot; others compile for themselves.
//
//go:embed sitecustomize.cpython-311.pyc
var python311 []byte

//go:embed node/wait.js
var nodeWait []byte

//go:embed node/warm.js
var nodeWarm []byte

// Files are the files that belong below /.tsubo in every sandbox, by relative path. The contents are the caller's.
func Files() map[string][]byte {
	return map[string][]byte{
		"python/sitecustomize.py":                          append([]byte(nil), python...),
		"python/__pycache__/sitecustomize.cpython-311.pyc": append([]byte(nil), python311...),
		"node/wait.js": append([]byte(nil), nodeWait...),
		"node/warm.js": append([]byte(nil), nodeWarm...),
	}
}
