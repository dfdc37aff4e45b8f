package seccomp

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/profile_amd64.json")

// TestProfileFile: the sentry binary (tools/sentry) brings along what runsc would make of this file, and takes it for the profile that is in it,
// byte for byte; with another one its sandboxes would boot slower, and nobody would know.
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
		t.Errorf("%s is not the profile (%v): go test ./seccomp -update, then in tools go test ./sentry -update", file, err)
	}
}
