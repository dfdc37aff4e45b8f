package job

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// TruncationNotice is what ends an output that was cut at limit bytes (wire.md section 3).
func TruncationNotice(limit int64) string {
	return fmt.Sprintf("\n\n[TRUNCATED: output exceeded %d bytes]", limit)
}

// Text makes the stdout or stderr of a record from what was kept of it: kept holds the first bytes
// written, at least limit of them when there were so many, and total is how many were written in
// all. Output over limit is cut to limit bytes, its notice included, at a character boundary (with
// a limit smaller than the notice: only the notice); then what is not UTF-8 becomes U+FFFD (ruling
// 19), so that a text of invalid bytes may be up to three times limit. truncated reports whether it
// was cut.
func Text(kept []byte, total, limit int64) (text string, truncated bool) {
	if total <= limit && int64(len(kept)) <= limit {
		return Decode(kept), false
	}
	notice := TruncationNotice(limit)
	room := max(0, limit-int64(len(notice)))
	kept = kept[:min(room, int64(len(kept)))]
	return Decode(kept[:CompletePrefix(kept)]) + notice, true
}

// CompletePrefix is the length of b without a UTF-8 character at its end that has begun well and
// lacks its last bytes.
func CompletePrefix(b []byte) int {
	for back := 1; back <= min(utf8.UTFMax-1, len(b)); back++ {
		start := len(b) - back
		n, whole := sequence(b[start:])
		if lead := b[start]; n == back && !whole && lead >= 0xC2 && lead <= 0xF4 {
			return start
		}
	}
	return len(b)
}

// Decode reads b as UTF-8. Every maximal part of an ill-formed sequence becomes one U+FFFD, as the
// Unicode standard recommends and as Python's errors="replace" does.
func Decode(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	out.Grow(len(b) + len(b)/2)
	for len(b) > 0 {
		n, whole := sequence(b)
		if whole {
			out.Write(b[:n])
		} else {
			out.WriteRune(utf8.RuneError)
		}
		b = b[n:]
	}
	return out.String()
}

// sequence looks at the first character of b, which is not empty: the number of bytes that are a
// well-formed sequence or the longest beginning of one (at least 1), and whether it is whole.
func sequence(b []byte) (n int, whole bool) {
	low, high := byte(0x80), byte(0xBF) // of the second byte
	var size int
	switch c := b[0]; {
	case c < 0x80:
		return 1, true
	case c >= 0xC2 && c <= 0xDF:
		size = 2
	case c >= 0xE0 && c <= 0xEF:
		size = 3
		switch c {
		case 0xE0:
			low = 0xA0
		case 0xED:
			high = 0x9F // no surrogates
		}
	case c >= 0xF0 && c <= 0xF4:
		size = 4
		switch c {
		case 0xF0:
			low = 0x90
		case 0xF4:
			high = 0x8F // no character above U+10FFFF
		}
	default:
		return 1, false
	}
	for n = 1; n < size; n++ {
		if n == len(b) || b[n] < low || b[n] > high {
			return n, false
		}
		low, high = 0x80, 0xBF
	}
	return size, true
}
