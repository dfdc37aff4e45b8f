package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pythonName is the interpreter's name in Debian. Its minor version is part of package names and
// paths.
const pythonName = "python3.11"

var pythonFlavour = flavour{
	packages: `
	libbz2-1.0 libcrypt1 libdb5.3 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8 libsqlite3-0 libuuid1
	libpython3.11-minimal libpython3.11-stdlib python3.11-minimal`,
	links:   map[string]string{"usr/bin/python3": pythonName},
	library: "libsqlite3.so.0",
	cmd:     "python3",
	finish:  compile,
}

// compile compiles the tree's Python library in root with the tree's own interpreter, proves that
// every extension module and the library load, and adds the bytecode to the tree.
func compile(t *tree, root string) error {
	lib := filepath.Join(root, "usr/lib", pythonName)
	cmd := python(root, "-m", "compileall", "-q", "-j1", "--invalidation-mode", "unchecked-hash", "-s", root, "-p",
		"/", lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the Python library: %w: %s", err, tail(out))
	}
	if out, err := python(root, "-c", importAll, lib).CombinedOutput(); err != nil {
		return fmt.Errorf("import the Python library: %w: %s", err, tail(out))
	}
	return t.takeBytecode(root, lib)
}

// takeBytecode adds the bytecode below lib, a directory in root, to the tree.
func (t *tree) takeBytecode(root, lib string) error {
	return filepath.WalkDir(lib, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pyc") {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // our own scratch directory
		if err != nil {
			return err
		}
		if len(data) < 16 || data[4] != 1 { // flags 1: hash-based, not checked against the source
			return fmt.Errorf("bytecode %s is not an unchecked-hash file", path)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		t.file(name, 0o644, data)
		return nil
	})
}

// importAll imports every extension module and the modules that need other packages' files.
const importAll = `
import os, sys, importlib
dyn = os.path.join(sys.argv[1], "lib-dynload")
names = sorted({f.split(".")[0] for f in os.listdir(dyn)})
assert len(names) > 30, names
for name in names: importlib.import_module(name)
import ssl, sqlite3, ctypes, lzma, bz2, zlib, multiprocessing, decimal, curses, readline
import zoneinfo, uuid, dbm.ndbm, asyncio, json, hashlib
import xml.etree.ElementTree, concurrent.futures, http.client, email.message, unittest.mock
import logging.handlers, mimetypes, tomllib
assert hashlib.new("sha3_256").digest_size == 32
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
`

// python returns a command of the tree's own interpreter under root, with its own loader and
// libraries and without the caller's environment, so that its output does not depend on the host.
func python(root string, args ...string) *exec.Cmd {
	argv := []string{
		"--argv0",
		"python3",
		"--library-path",
		filepath.Join(root, libDir()),
		filepath.Join(root, "usr/bin", pythonName),
		"-sSB",
	}
	//nolint:gosec // our own scratch directory
	cmd := exec.Command(filepath.Join(root, loader()), append(argv, args...)...)
	cmd.Env = []string{"LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONHOME=" + filepath.Join(root, "usr")}
	return cmd
}
