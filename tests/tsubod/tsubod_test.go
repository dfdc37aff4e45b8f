package tsubod

import (
	"bytes"
	"strings"
	"testing"
)

func TestBundleOf(t *testing.T) {
	for want, args := range map[string][]string{
		"/r/a": {"runsc-sandbox", "--root=/r/runsc", "boot", "--bundle=/r/a", "id"},
		"/r/b": {"/x/runsc-gofer", "--root=/r/runsc", "gofer", "--bundle", "/r/b"},
	} {
		if got := bundleOf(args, "/r/runsc"); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
		if got := bundleOf(args, "/r/run"); got != "" {
			t.Errorf("another daemon's %q: %q", args, got)
		}
	}
	for _, args := range [][]string{nil, {"grep", "--root=/r/runsc", "--bundle=/r/a"}, {"runsc-sandbox", "--root=/r/runsc", "--bundle"}} {
		if got := bundleOf(args, "/r/runsc"); got != "" {
			t.Errorf("%q: %q", args, got)
		}
	}
}

func TestConfig(t *testing.T) {
	o := Options{Name: "n", Dir: "/d", Runsc: "/runsc", Config: "max_workers: 3\n"}
	if c := o.config(); strings.Contains(c, "cgroup_parent") || !strings.Contains(c, "security_mode: permissive") || !strings.Contains(c, "max_workers: 3") {
		t.Errorf("permissive: %s", c)
	}
	o.Strict = true
	if c := o.config(); !strings.Contains(c, "security_mode: strict\ncgroup_parent: /tsubo-n\n") {
		t.Errorf("strict: %s", c)
	}
}

func TestBufferKeepsTheEnd(t *testing.T) {
	var b buffer
	for range 3 {
		if _, err := b.Write(bytes.Repeat([]byte("x"), maxLog)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = b.Write([]byte("the end"))
	if s := b.String(); len(s) > 2*maxLog || !strings.HasSuffix(b.tail(), "the end") {
		t.Errorf("%d bytes, ends with %q", len(s), b.tail()[1990:])
	}
}
