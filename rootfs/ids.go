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

// FreeIDs returns the first id of an unused range for [Options.IDBase]: the lowest multiple of the
// range's size, from 1<<20 on, without any user, group or subordinate range of etc. etc is /etc,
// with passwd, group, subuid and subgid. A missing file is empty. Users known only to a directory
// service are not seen.
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

// spans returns the ids of the lines with a number in field id. If number is not 0, that field
// holds a count.
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
