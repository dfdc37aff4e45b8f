package config

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAccess(t *testing.T) {
	hash := "sha256:" + strings.Repeat("ab", 32)
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tls := "tls_cert: /cert.pem\ntls_key: " + key + "\n"
	for text, refused := range map[string]string{
		"":                       "", // no TCP listener
		"server_host: 127.0.0.1": "server_host",
		"server_port: 9000":      "server_host",
		"server_host: 127.0.0.1\nallow_unauthenticated_loopback: true":                    "",
		"server_host: localhost\nallow_unauthenticated_loopback: admin":                   "",
		"server_host: ::1\napi_auth_enabled: true\napi_keys: [" + hash + "]":              "",
		"server_host: 127.0.0.1\napi_auth_enabled: true":                                  "api_auth_enabled",
		"server_host: 0.0.0.0\nallow_unauthenticated_loopback: true":                      "server_host",
		"server_host: 0.0.0.0\napi_auth_enabled: true\napi_keys: [" + hash + "]":          "server_host",
		"server_host: 0.0.0.0\n" + tls:                                                    "server_host",
		"server_host: 10.0.0.1\napi_auth_enabled: true\napi_keys: [" + hash + "]\n" + tls: "",
		"server_host: 0.0.0.0\nallow_unauthenticated_network_access: true":                "",
		"tls_cert: /cert.pem\ntls_key: /etc/passwd\n":                                     "tls_key",
	} {
		c := mustLoad(t, text)
		_, err := c.CheckAccess(false)
		switch {
		case refused == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case refused != "" && (err == nil || !strings.HasPrefix(err.Error(), "field "+refused+":")):
			t.Errorf("%q: %v, want %s refused", text, err, refused)
		}
	}
	c := mustLoad(t, "api_auth_enabled: true\nserver_port: 1", "TSUBO_API_KEYS=correct horse battery")
	if len(c.Access.Keys) != 1 || c.Access.Keys[0].SHA256 != sha256.Sum256([]byte("correct horse battery")) {
		t.Errorf("keys %v", c.Access.Keys)
	}
	for text, want := range map[string]bool{
		"server_port: 1\nallow_unauthenticated_loopback: true":             true,
		"server_host: 0.0.0.0\nallow_unauthenticated_network_access: true": true,
		"server_port: 1\napi_auth_enabled: true\napi_keys: [" + hash +
			"]": false,
		"server_host: 10.0.0.1\nallow_unauthenticated_network_access: true\napi_auth_enabled: true\napi_keys: [" +
			hash + "]\n" + tls: false,
	} {
		warnings, err := mustLoad(t, text).CheckAccess(false)
		if err != nil || (len(warnings) > 0) != want {
			t.Errorf("%q: warnings %v, %v", text, warnings, err)
		}
	}
}

// The daemon does not start without a key, so the error must name the command that works offline.
func TestNoKeyNamesTheOfflineCommand(t *testing.T) {
	_, err := mustLoad(t, "server_host: 127.0.0.1\napi_auth_enabled: true").CheckAccess(false)
	if err == nil || !strings.Contains(err.Error(), "tsubo keys create --offline --admin") {
		t.Errorf("got %v", err)
	}
}
