package job

import (
	"strings"
	"testing"
)

func TestCheckFilePath(t *testing.T) {
	for _, p := range []string{"a", ".env", "a/b", "1/2/3/4/5/6/7/8", "é/ü.py", strings.Repeat("n", 255) + "/x", "a b/c\nd"} {
		if err := CheckFilePath(p); err != nil {
			t.Errorf("%.20q: %v", p, err)
		}
	}
	for p, want := range map[string]string{
		"": "empty", "/": "must not begin", "/a": "must not begin", "a/": "must not begin", "a//b": "must not begin", "..": "must not be", "a/../b": "must not be", "a/.": "must not be",
		"1/2/3/4/5/6/7/8/9": "9 parts: at most 8", "a/b\\c": "must not contain", "a/b\x00": "must not contain", "a/\xff": "UTF-8", "x/" + strings.Repeat("n", 256): "at most 255",
	} {
		if err := CheckFilePath(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v: want %q", p, err, want)
		}
	}
}

func TestCheckFileTree(t *testing.T) {
	if i, err := CheckFileTree([]string{"a", "b/a", "b/c/d", "b/c/e", "ab", "a.b/c"}); err != nil || i != -1 {
		t.Errorf("%d, %v", i, err)
	}
	for i, paths := range [][]string{{"a/b", "a"}, {"a", "a/b"}, {"x", "1/2/3", "1/2"}} {
		want := []int{0, 1, 1}[i]
		if got, err := CheckFileTree(paths); got != want || err == nil || !strings.Contains(err.Error(), "which is a file") {
			t.Errorf("%v: %d, %v", paths, got, err)
		}
	}
}
