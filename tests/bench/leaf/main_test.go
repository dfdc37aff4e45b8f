package main

import (
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	f := figures(map[string][]time.Duration{
		native: {30 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond},
		apply:  {1 * time.Millisecond, 2 * time.Millisecond, 9 * time.Millisecond},
	})
	if f[native] != 20.0 || f[apply] != 2.0 || f["apply_to_native"] != 0.1 || f["rounds"] != 3 {
		t.Errorf("%v", f)
	}
	if f := figures(nil); len(f) != 0 {
		t.Errorf("of nothing: %v", f)
	}
}
