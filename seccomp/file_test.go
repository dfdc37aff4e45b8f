package seccomp

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/profile_amd64.json")

// TestProfileFile checks the profile that the sentry binary (tools/sentry) is built with. The
// binary contains the compiled form of this file, and uses it only for exactly this profile. With
// another profile sandboxes would silently boot slower.
func TestProfileFile(t *testing.T) {
	const file = "testdata/profile_amd64.json"
	want, err := json.MarshalIndent(profileFor("amd64"), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(file, want, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not the profile (%v): go test ./seccomp -update, then in tools go test ./sentry -update",
			file, err)
	}
}
