package config

import (
	"math"
	"strconv"
	"strings"
)

// parseSize parses a number of bytes with an optional suffix k, m, g or t (powers of 1024, any
// case; "512m", "512MiB" and "512MB" are equal). It never rounds or overflows.
func parseSize(text string) (int64, bool) {
	digits := strings.TrimRightFunc(text, func(c rune) bool { return c < '0' || c > '9' })
	suffix := strings.ToLower(text[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || digits[0] == '+' {
		return 0, false
	}
	shift, known := map[string]uint{"": 0, "b": 0, "k": 10, "m": 20, "g": 30,
		"t": 40}[strings.TrimSuffix(strings.TrimSuffix(suffix, "b"), "i")]
	if !known || suffix == "i" || suffix == "ib" || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

// bytes reads a size from low to high, in bytes.
func (r *reader) bytes(name string, to *int64, low, high int64) {
	r.note(name, *to, "size of %d to %d bytes", low, high)
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	n := int64(-1)
	switch v := value.(type) {
	case uint64:
		n = int64(min(v, math.MaxInt64))
	case string:
		if parsed, ok := parseSize(v); ok {
			n = parsed
		}
	}
	if n < low || n > high {
		r.fail(name, "must be a size from %d to %d bytes, such as 1048576 or 1m", low, high)
		return
	}
	*to = n
}

// share reads a size in bytes, or a percentage of whole.
func (r *reader) share(name string, to *int64, whole int64) {
	r.note(name, *to, "size, or a percentage of the host's memory")
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	if text, is := value.(string); is && strings.HasSuffix(text, "%") {
		percent, err := strconv.ParseUint(strings.TrimSuffix(text, "%"), 10, 8)
		if err != nil || percent < 1 || percent > 100 {
			r.fail(name, "must be a percentage from 1%% to 100%%, or a size such as 2g")
			return
		}
		*to = whole / 100 * int64(percent)
		return
	}
	n := int64(-1)
	switch v := value.(type) {
	case uint64:
		n = int64(min(v, math.MaxInt64))
	case string:
		if parsed, ok := parseSize(v); ok {
			n = parsed
		}
	}
	if n < 1 || n > whole {
		r.fail(name, "must be a size of at most this host's memory (%d bytes), such as 2g, or a percentage such "+
			"as 80%%", whole)
		return
	}
	*to = n
}
