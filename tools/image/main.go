package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// flavour is the part of an image that differs from the others.
type flavour struct {
	packages string            // packages besides basePackages
	links    map[string]string // symbolic links that the packages' own scripts would create, by path
	library  string            // a library that the loader's cache must contain
	cmd      string            // the interpreter, the image's default command
	// finish runs the image's interpreter in root, a copy of the tree, and proves that the
	// interpreter is complete. It adds the files that the interpreter generates to the tree. The
	// caller removes root.
	finish func(t *tree, root string) error
}

var flavours = map[string]flavour{"python": pythonFlavour, "node": nodeFlavour, "python-data": dataFlavour}

// basePackages are in every image. An image has only these and the flavour's packages; apt adds no
// dependencies. checkLibraries finds missing libraries.
const basePackages = `
	base-files bash ca-certificates coreutils dash findutils grep libc-bin libc6 mawk media-types ncurses-base
	netbase sed tzdata
	libacl1 libattr1 libgcc-s1 libgmp10 libpcre2-8-0 libselinux1 libssl3 libstdc++6 libtinfo6 zlib1g`

// epoch is the time of the image and of every file. SOURCE_DATE_EPOCH (seconds) overrides it.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	out := flag.String("o", "", "directory of the OCI layout, created or replaced")
	cache := flag.String("cache", defaultCache(), "directory for downloaded packages")
	gz := flag.Bool("gzip", false, "compress the layer (the digest then depends on Go's compressor)")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: image [flags] %s\n",
			strings.Join(slices.Sorted(maps.Keys(flavours)), "|"))
		flag.PrintDefaults()
	}
	flag.Parse()
	_, known := flavours[flag.Arg(0)]
	if *out == "" || flag.NArg() != 1 || !known {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *out, *cache, *gz); err != nil {
		fmt.Fprintf(os.Stderr, "image %s: %v\n", flag.Arg(0), err)
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

func run(name, out, cache string, gz bool) (err error) {
	f := flavours[name]
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("read SOURCE_DATE_EPOCH %q: %w", s, err)
		}
		epoch = time.Unix(sec, 0).UTC()
	}
	debs, err := fetch(cache, strings.Fields(basePackages+f.packages))
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
	if err := t.fixups(f.links); err != nil {
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
	root := filepath.Join(scratch, "root")
	if err := t.writeTo(root); err != nil {
		return fmt.Errorf("write the tree for its interpreter: %w", err)
	}
	if err := t.checkCache(root, f.library); err != nil {
		return err
	}
	if err := f.finish(t, root); err != nil {
		return err
	}
	digest, size, err := writeLayout(out, name, t, debs, gz)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s (%d packages, %d files, %.1f MB)\n", out, digest, len(debs), len(t.entries), float64(size)/1e6)
	return nil
}

// libDir returns Debian's library directory of this architecture.
func libDir() string {
	if runtime.GOARCH == "arm64" {
		return "usr/lib/aarch64-linux-gnu"
	}
	return "usr/lib/x86_64-linux-gnu"
}

// loader returns the path of the dynamic loader of this architecture.
func loader() string {
	if runtime.GOARCH == "arm64" {
		return "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"
	}
	return "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
}

// tail returns the last bytes of a failed command's output.
func tail(out []byte) string {
	s := strings.TrimSpace(string(out))
	if len(s) > 2000 {
		s = "…" + s[len(s)-2000:]
	}
	return s
}
