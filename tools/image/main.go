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

// flavour is what one image has that another has not.
type flavour struct {
	packages string            // besides basePackages
	links    map[string]string // symbolic links that the packages' own scripts would have made, by path
	library  string            // one that the loader's cache must know
	cmd      string            // the interpreter, as an image's default command
	// finish runs the image's interpreter in root, where the tree has been written to, proves that it is whole, and takes into the tree what
	// the interpreter makes for it. root is the caller's to remove.
	finish func(t *tree, root string) error
}

var flavours = map[string]flavour{"python": pythonFlavour, "node": nodeFlavour, "python-data": dataFlavour}

// basePackages are in every image. They and the flavour's are everything that is in it; nothing is pulled in unseen. checkLibraries finds what
// is missing.
const basePackages = `
	base-files bash ca-certificates coreutils dash findutils grep libc-bin libc6 mawk media-types ncurses-base netbase sed tzdata
	libacl1 libattr1 libgcc-s1 libgmp10 libpcre2-8-0 libselinux1 libssl3 libstdc++6 libtinfo6 zlib1g`

// epoch is the time of every file, and of the image. SOURCE_DATE_EPOCH (seconds) overrides it.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	out := flag.String("o", "", "directory of the OCI layout to make; one that is there is replaced")
	cache := flag.String("cache", defaultCache(), "directory that keeps downloaded packages")
	gz := flag.Bool("gzip", false, "compress the layer (the digest then depends on Go's compressor)")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: image [flags] %s\n", strings.Join(slices.Sorted(maps.Keys(flavours)), "|"))
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
