// Package pagecache looks, for tests, at how much of a file lies in the kernel's page cache.
package pagecache

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

// Dir makes a directory, for the time of the test, that everybody may go through and that has a
// disk below it where /var/lib has one. No other user can make names in it: tsubod starts from it.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/lib", "tsubo-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // it is meant
		t.Fatal(err)
	}
	return dir
}

// Evict takes a file in a Dir out of the page cache.
func Evict(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	need.That(t, "disk", Pages(t, path) == 0)
}

// Pages counts the pages of a file that are in the page cache.
func Pages(t testing.TB, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b) //nolint:errcheck // only read
	vec := make([]byte, Size(t, path))
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(unsafe.Pointer(unsafe.SliceData(vec)))); errno != 0 { //nolint:gosec // no pointer outlives the call
		t.Fatal(errno)
	}
	n := 0
	for _, v := range vec {
		n += int(v & 1)
	}
	return n
}

// Size is the number of pages that a file has.
func Size(t testing.TB, path string) int {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	page := int64(os.Getpagesize())
	return int((fi.Size() + page - 1) / page)
}
