package netns

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Visible returns the sorted inode numbers of the network namespaces that a thread is in or a
// process holds open. Namespaces that only a mount in another mount namespace pins are not listed.
// Visible serves tests that check for leftovers. It skips processes that exit meanwhile.
func Visible() ([]uint64, error) {
	found := make(map[uint64]bool)
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/[0-9]*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", pattern, err)
		}
		for _, path := range paths {
			target, err := os.Readlink(path)
			if err != nil {
				continue
			}
			number, ok := strings.CutPrefix(target, "net:[")
			if !ok {
				continue
			}
			n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("parse namespace link %q: %w", target, err)
			}
			found[n] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
