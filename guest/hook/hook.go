// Package hook holds the file that makes an image's own CPython wait for its code; tsubo-init starts the interpreter with it and
// tells it when to go on (package guest, hook.go). It is apart from package guest so that the daemon can build /.tsubo without linking init.
package hook

import _ "embed"

//go:embed sitecustomize.py
var python []byte

// Files are the files that belong below /.tsubo in every sandbox, by relative path. The contents are the caller's.
func Files() map[string][]byte {
	return map[string][]byte{"python/sitecustomize.py": append([]byte(nil), python...)}
}
