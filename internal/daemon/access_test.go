package daemon

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/api"
)

func TestAccess(t *testing.T) {
	d := bare(t, configured(t, ""))
	text, key, err := d.keys.Create("ci", true, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	auth := d.auth(configured(t, "api_auth_enabled: true\napi_keys: [\"sha256:"+strings.Repeat("ab", 32)+"\"]\n"))
	if k, ok := auth.Find(sha256.Sum256([]byte(text))); !ok || k != (api.FoundKey{ID: key.ID, Admin: true}) {
		t.Errorf("%+v %v", k, ok)
	}
	old, _, err := d.keys.Create("old", false, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := auth.Find(sha256.Sum256([]byte(old))); !ok || !k.Expired {
		t.Errorf("a key of the past: %+v %v", k, ok)
	}
	if _, ok := auth.Find(sha256.Sum256([]byte(text + " "))); ok {
		t.Error("found another key")
	}
	if !auth.RequireKey || len(auth.Keys) != 1 || auth.Keys[0].SHA256[0] != 0xab || auth.WindowSeconds != 60 ||
		auth.Requests != 120 || auth.UnixRequests != 0 {
		t.Errorf("%+v", auth)
	}
	for lines, want := range map[string]string{
		"":                                      "",
		"allow_unauthenticated_loopback: true":  api.LoopbackUser,
		"allow_unauthenticated_loopback: admin": api.LoopbackAdmin,
		"server_host: 0.0.0.0\nallow_unauthenticated_network_access: true":     api.OpenToAll,
		"server_host: 127.0.0.1\nallow_unauthenticated_network_access: true":   "",
		"allow_unauthenticated_network_access: true\napi_auth_enabled: true\n": "",
	} {
		if got := d.auth(configured(t, lines)).LoopbackRole; got != want {
			t.Errorf("%q: role %q, want %q", lines, got, want)
		}
	}
}

// The last use of a key is in the file once the daemon has ended.
func TestLastUseIsWritten(t *testing.T) {
	cfg := configured(t, "")
	t.Cleanup(func() { // runs after the daemon's own cleanup
		file, err := openKeys(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if all := file.List(); len(all) != 1 || all[0].LastUsedAt.IsZero() {
			t.Errorf("kept %+v", all)
		}
	})
	d := bare(t, cfg)
	text, _, err := d.keys.Create("ci", false, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.auth(cfg).Find(sha256.Sum256([]byte(text))); !ok {
		t.Error("the key is not found")
	}
}
