package runsc

import (
	"os"
	"strings"
	"testing"
)

// TestPinned checks that Pinned equals the version that the tools require.
func TestPinned(t *testing.T) {
	data, err := os.ReadFile("../tools/go.mod")
	if os.IsNotExist(err) {
		t.Skip("the tests run outside of the tree")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "gvisor.dev/gvisor "+Pinned+"\n") {
		t.Errorf("tools/go.mod requires another gvisor.dev/gvisor than %s", Pinned)
	}
}

func TestOutdated(t *testing.T) {
	for version, want := range map[string]bool{
		Pinned:                               false,
		Pinned + "+bcc2859ca8c5":             false,
		"release-20260905.0":                 false,
		"release-20270101.0":                 false,
		"v0.0.0-20270101000000-160fafc42237": false,
		"release-20260904.0":                 true,
		"v0.0.0-20220101000000-160fafc42237": true,
		"0.0~20221219.0-1":                   true,
		"VERSION_MISSING":                    true,
		"":                                   true,
	} {
		if got := Outdated(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}
