package cli

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/keys"
)

// The first admin key is created without a daemon, and never while a daemon uses the data
// directory.
func TestCreateKeyOffline(t *testing.T) {
	dir := t.TempDir()
	data, file := filepath.Join(dir, "data"), filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file,
		[]byte("data_dir: "+data+"\nserver_port: 9000\nserver_host: 127.0.0.1\napi_auth_enabled: true\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	create := func() (code int, out, errs string) {
		var o, e bytes.Buffer
		code = Main([]string{"tsubo", "keys", "create", "--offline", "--admin", "--config", file},
			strings.NewReader(""), &o, &e)
		return code, strings.TrimSpace(o.String()), e.String()
	}
	code, text, errs := create()
	if code != 0 {
		t.Fatalf("status %d: %s", code, errs)
	}
	all, err := keys.Open(keys.Path(data))
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := all.Find(sha256.Sum256([]byte(text))); !ok || !key.Admin {
		t.Errorf("the key that was printed is %+v, found %t", key, ok)
	}
	lock, err := owned.Lock(data) // as tsubod does
	if err != nil {
		t.Fatal(err)
	}
	if code, text, errs := create(); code == 0 || text != "" || !strings.Contains(errs, "in use by another tsubod") {
		t.Errorf("under tsubod's lock: status %d, %q, %q", code, text, errs)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
