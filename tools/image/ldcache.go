package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
)

// ldCache is the path of the dynamic loader's cache. ctypes.util.find_library reads the cache
// (through ldconfig -p). Without a cache the loader searches its directories for every library.
// ldconfig itself could create the cache only as root.
const ldCache = "etc/ld.so.cache"

// libraryCache adds the cache with every library of libDir by its SONAME, in glibc's format 1.1
// (struct cache_file_new in glibc's dl-cache.h).
func (t *tree) libraryCache() error {
	var names []string
	for _, name := range t.paths() {
		e := t.entries[name]
		if e.kind != tar.TypeReg || path.Dir(name) != libDir() || !bytes.HasPrefix(e.data, []byte(elf.ELFMAG)) {
			continue
		}
		f, err := elf.NewFile(bytes.NewReader(e.data))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		soname, err := f.DynString(elf.DT_SONAME)
		if err != nil {
			return fmt.Errorf("read the name of %s: %w", name, err)
		}
		if len(soname) == 1 && t.resolves(path.Join(libDir(), soname[0])) {
			names = append(names, soname[0])
		}
	}
	t.file(ldCache, 0o644, encodeCache(names))
	return nil
}

// encodeCache returns the cache's content for libraries of libDir.
func encodeCache(names []string) []byte {
	const headerSize, entrySize, littleEndian = 48, 24, 2
	flags := uint32(0x0303) // FLAG_ELF_LIBC6 | FLAG_X8664_LIB64
	if runtime.GOARCH == "arm64" {
		flags = 0x0a03 // FLAG_ELF_LIBC6 | FLAG_AARCH64_LIB64
	}
	names = append([]string(nil), names...)
	sort.Slice(names, func(i, j int) bool { return compareLibraries(names[i], names[j]) > 0 })
	var entries, text bytes.Buffer
	start := uint32(headerSize + entrySize*len(names)) //nolint:gosec // a few hundred at most
	put := func(s string) uint32 {
		at := start + uint32(text.Len()) //nolint:gosec // see above
		text.WriteString(s)
		text.WriteByte(0)
		return at
	}
	for _, name := range names {
		key := put(name)
		value := put("/" + strings.TrimPrefix(libDir(), "usr/") + "/" + name)
		for _, v := range []uint32{flags, key, value, 0, 0, 0} { // no OS version, no hardware capability
			entries.Write(binary.LittleEndian.AppendUint32(nil, v))
		}
	}
	out := []byte("glibc-ld.so.cache1.1")
	//nolint:gosec // see above
	for _, v := range []uint32{uint32(len(names)), uint32(text.Len()), littleEndian, 0, 0, 0, 0} {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return append(append(out, entries.Bytes()...), text.Bytes()...)
}

// compareLibraries orders names as glibc's _dl_cache_libcmp, which the loader's search uses: runs
// of digits by their value, and after any other character.
func compareLibraries(a, b string) int {
	digit := func(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }
	number := func(s string) (int, string) {
		n := 0
		for digit(s) {
			n, s = n*10+int(s[0]-'0'), s[1:]
		}
		return n, s
	}
	for a != "" {
		switch {
		case digit(a) && digit(b):
			var x, y int
			x, a = number(a)
			y, b = number(b)
			if x != y {
				return x - y
			}
		case digit(a):
			return 1
		case digit(b):
			return -1
		case b == "":
			return int(a[0])
		case a[0] != b[0]:
			return int(a[0]) - int(b[0])
		default:
			a, b = a[1:], b[1:]
		}
	}
	if b != "" {
		return -1
	}
	return 0
}

// checkCache checks that the tree's own ldconfig finds libc and the library in the cache under
// root.
func (t *tree) checkCache(root, library string) error {
	//nolint:gosec // our own scratch
	cmd := exec.Command(filepath.Join(root, "usr/sbin/ldconfig"), "-p", "-C", filepath.Join(root, ldCache))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("read the library cache: %w: %s", err, tail(out))
	}
	want := "/" + strings.TrimPrefix(libDir(), "usr/") + "/" + library
	if !bytes.Contains(out, []byte("libc.so.6 (libc6,")) || !bytes.Contains(out, []byte(want)) {
		return fmt.Errorf("read the library cache: ldconfig sees only %s", tail(out))
	}
	return nil
}
