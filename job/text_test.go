package job

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The values are what Python's bytes.decode("utf-8", "replace") gives.
func TestDecodeAsPythonDoes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"\x00\x7f", "\x00\x7f"},
		{"é€😀", "é€😀"},
		{"\x80", "\ufffd"},
		{"\xff\xfe", "\ufffd\ufffd"},
		{"\xc0\xaf", "\ufffd\ufffd"},
		{"\xe2\x82", "\ufffd"},
		{"\xe2\x82x", "\ufffdx"},
		{"\xf0\x9f\x98", "\ufffd"},
		{"\xf0\x9f\x98\xf0\x9f\x98\x80", "\ufffd😀"},
		{"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
		{"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
		{"\xf5", "\ufffd"},
		{"\ufffd", "\ufffd"},
	} {
		if got := Decode([]byte(c.in)); got != c.want {
			t.Errorf("Decode(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestCompletePrefix(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"", 0}, {"ab", 2}, {"a€", 4}, {"a\xe2", 1}, {"a\xe2\x82", 1}, {"\xf0\x9f\x98", 0}, {"a\x80", 2}, {"a\xff", 2}, {"\xf0\x80", 2}, {"😀", 4},
	} {
		if got := CompletePrefix([]byte(c.in)); got != c.want {
			t.Errorf("CompletePrefix(%q) = %d, want %d", c.in, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	const limit = 100
	notice := TruncationNotice(limit)
	if notice != "\n\n[TRUNCATED: output exceeded 100 bytes]" {
		t.Fatalf("notice is %q", notice)
	}
	room := limit - len(notice)
	for _, c := range []struct {
		name   string
		kept   string
		total  int64
		limit  int64
		want   string
		wasCut bool
	}{
		{"empty", "", 0, limit, "", false},
		{"exactly the limit", strings.Repeat("a", limit), limit, limit, strings.Repeat("a", limit), false},
		{"one over", strings.Repeat("a", limit), limit + 1, limit, strings.Repeat("a", room) + notice, true},
		{"more kept than the limit", strings.Repeat("a", limit+9), limit + 9, limit, strings.Repeat("a", room) + notice, true},
		{"cut inside a character", strings.Repeat("a", room-1) + "€" + strings.Repeat("a", limit), 500, limit, strings.Repeat("a", room-1) + notice, true},
		{"limit under the notice", strings.Repeat("a", 50), 50, 10, TruncationNotice(10), true},
		{"bytes that are not UTF-8", "a\xffb", 3, limit, "a\ufffdb", false},
	} {
		got, cut := Text([]byte(c.kept), c.total, c.limit)
		if got != c.want || cut != c.wasCut {
			t.Errorf("%s: got %q, %v; want %q, %v", c.name, got, cut, c.want, c.wasCut)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("a\xe2\x82"), int64(50))
	f.Add([]byte(strings.Repeat("é", 100)), int64(64))
	f.Fuzz(func(t *testing.T, b []byte, limit int64) {
		limit = 1 + (limit&0xffff)%4096
		text, cut := Text(b, int64(len(b)), limit)
		if !utf8.ValidString(text) {
			t.Errorf("not UTF-8: %q", text)
		}
		if cut != (int64(len(b)) > limit) {
			t.Errorf("cut = %v for %d bytes of %d", cut, len(b), limit)
		}
		if utf8.Valid(b) && int64(len(text)) > max(limit, int64(len(TruncationNotice(limit)))) {
			t.Errorf("%d bytes for a limit of %d", len(text), limit)
		}
		if !cut && utf8.Valid(b) && text != string(b) {
			t.Errorf("changed %q to %q", b, text)
		}
	})
}
