package rootfs

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// idSpan is the host ids first..last.
type idSpan struct{ first, last uint64 }

// FreeIDs returns the first id of a range for Options.IDBase that nobody else on the host has: the
// lowest multiple of its size from 1<<20 on that no user, no group, and no subordinate range of etc
// (/etc: passwd, group, subuid, subgid) lies in. A file that is missing has none. Users that only a
// directory service knows are not seen.
func FreeIDs(etc string) (uint32, error) {
	var taken []idSpan
	for _, f := range []struct {
		name       string
		id, number int // fields of a line; number 0 is one id
	}{{"passwd", 2, 0}, {"group", 2, 0}, {"subuid", 1, 2}, {"subgid", 1, 2}} {
		data, err := os.ReadFile(filepath.Join(etc, f.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("look for free ids: %w", err)
		}
		taken = append(taken, spans(data, f.id, f.number)...)
	}
	slices.SortFunc(taken, func(a, b idSpan) int { return cmp.Compare(a.first, b.first) })
	base := uint64(1 << 20)
	for _, s := range taken {
		if s.first <= base+idRange-1 && s.last >= base {
			base = (s.last/idRange + 1) * idRange
		}
	}
	if base+idRange > 1<<32-1 {
		return 0, configf("no range of %d ids is free for unpacking images: %s has none left below 2^32", idRange, etc)
	}
	return uint32(base), nil
}

// spans are the ids of the lines that have a number in field id, and, where number is not 0, a
// count in that field.
func spans(data []byte, id, number int) []idSpan {
	var all []idSpan
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) <= max(id, number) {
			continue
		}
		first, err := strconv.ParseUint(strings.TrimSpace(fields[id]), 10, 32)
		if err != nil {
			continue
		}
		count := uint64(1)
		if number > 0 {
			if count, err = strconv.ParseUint(strings.TrimSpace(fields[number]), 10, 33); err != nil || count == 0 {
				continue
			}
		}
		all = append(all, idSpan{first, first + count - 1})
	}
	return all
}
