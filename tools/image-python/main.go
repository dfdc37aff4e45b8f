package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// packages is everything that is in the image; nothing is pulled in unseen. checkLibraries finds what is missing.
var packages = strings.Fields(`
	base-files bash ca-certificates coreutils dash findutils grep libc-bin libc6 mawk media-types ncurses-base netbase sed tzdata
	libacl1 libattr1 libbz2-1.0 libcrypt1 libdb5.3 libexpat1 libffi8 libgcc-s1 libgmp10 liblzma5 libncursesw6 libpcre2-8-0
	libreadline8 libselinux1 libsqlite3-0 libssl3 libstdc++6 libtinfo6 libuuid1 zlib1g
	libpython3.11-minimal libpython3.11-stdlib python3.11-minimal`)

// python is the interpreter's name in Debian; its minor version names packages and paths.
const python = "python3.11"

// epoch is the time of every file, and of the image. SOURCE_DATE_EPOCH (seconds) overrides it.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	out := flag.String("o", "", "directory of the OCI layout to make; one that is there is replaced")
	cache := flag.String("cache", defaultCache(), "directory that keeps downloaded packages")
	gz := flag.Bool("gzip", false, "compress the layer (the digest then depends on Go's compressor)")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, *cache, *gz); err != nil {
		fmt.Fprintln(os.Stderr, "image-python:", err)
		os.Exit(1)
	}
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "tsubo", "debs")
	}
	return filepath.Join(dir, "tsubo", "debs")
}

func run(out, cache string, gz bool) (err error) {
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("read SOURCE_DATE_EPOCH %q: %w", s, err)
		}
		epoch = time.Unix(sec, 0).UTC()
	}
	debs, err := fetch(cache, packages)
	if err != nil {
		return err
	}
	t := newTree()
	for _, d := range debs {
		if err := t.unpack(d.path); err != nil {
			return fmt.Errorf("unpack %s: %w", d.path, err)
		}
	}
	t.prune()
	if err := t.fixups(); err != nil {
		return err
	}
	if err := t.checkLibraries(); err != nil {
		return err
	}
	if err := t.libraryCache(); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "tsubo-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := t.compile(filepath.Join(scratch, "root")); err != nil {
		return err
	}
	digest, size, err := writeLayout(out, t, debs, gz)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s (%d packages, %d files, %.1f MB)\n", out, digest, len(debs), len(t.entries), float64(size)/1e6)
	return nil
}

// compile writes the tree to root, compiles its Python library there with its own interpreter, proves that every extension module
// and the library load, and takes the bytecode into the tree. root is the caller's to remove.
func (t *tree) compile(root string) error {
	if err := t.writeTo(root); err != nil {
		return fmt.Errorf("write the tree for its interpreter: %w", err)
	}
	if err := t.checkCache(root); err != nil {
		return err
	}
	lib := filepath.Join(root, "usr/lib", python)
	cmd := t.python(root, "-m", "compileall", "-q", "-j1", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/", lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the Python library: %w: %s", err, tail(out))
	}
	if out, err := t.python(root, "-c", importAll, lib).CombinedOutput(); err != nil {
		return fmt.Errorf("import the Python library: %w: %s", err, tail(out))
	}
	return filepath.WalkDir(lib, func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pyc") {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // our own scratch directory
		if err != nil {
			return err
		}
		if len(data) < 16 || data[4] != 1 { // flags word: 1 is hash-based and not checked against the source
			return fmt.Errorf("bytecode %s is not of the unchecked-hash kind", path)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		t.file(name, 0o644, data)
		return nil
	})
}

// importAll imports every extension module and the modules that stand on other packages' files.
const importAll = `
import os, sys, importlib
dyn = os.path.join(sys.argv[1], "lib-dynload")
names = sorted({f.split(".")[0] for f in os.listdir(dyn)})
assert len(names) > 30, names
for name in names: importlib.import_module(name)
import ssl, sqlite3, ctypes, lzma, bz2, zlib, multiprocessing, decimal, curses, readline, zoneinfo, uuid, dbm.ndbm, asyncio, json, hashlib
import xml.etree.ElementTree, concurrent.futures, http.client, email.message, unittest.mock, logging.handlers, mimetypes, tomllib
assert hashlib.new("sha3_256").digest_size == 32
assert sqlite3.connect(":memory:").execute("select 1").fetchone() == (1,)
`

// python is a command of the tree's own interpreter under root, with its own loader and libraries, and nothing of the caller's
// environment, so that it does the same everywhere.
func (t *tree) python(root string, args ...string) *exec.Cmd {
	argv := []string{"--argv0", "python3", "--library-path", filepath.Join(root, libDir()), filepath.Join(root, "usr/bin", python), "-sSB"}
	cmd := exec.Command(filepath.Join(root, loader()), append(argv, args...)...) //nolint:gosec // our own scratch directory
	cmd.Env = []string{"LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONHOME=" + filepath.Join(root, "usr")}
	return cmd
}

// libDir is Debian's library directory of this architecture, and loader the path of its dynamic loader.
func libDir() string {
	if runtime.GOARCH == "arm64" {
		return "usr/lib/aarch64-linux-gnu"
	}
	return "usr/lib/x86_64-linux-gnu"
}

func loader() string {
	if runtime.GOARCH == "arm64" {
		return "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
	}
	return "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
}

// tail is the end of a failed command's output, enough to see why.
func tail(out []byte) string {
	s := strings.TrimSpace(string(out))
	if len(s) > 2000 {
		s = "…" + s[len(s)-2000:]
	}
	return s
}
