package api

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// fakeKeys keeps keys in memory.
type fakeKeys struct {
	mu   sync.Mutex
	n    int
	keys []job.APIKey
}

func (f *fakeKeys) Create(name string, admin bool) (string, job.APIKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	k := job.APIKey{ID: fmt.Sprintf("%012d", f.n), Name: name, Role: "user", CreatedAt: job.Stamp(time.Unix(1, 0))}
	if admin {
		k.Role = "admin"
	}
	f.keys = append(f.keys, k)
	return "tsubo_secret", k, nil
}

func (f *fakeKeys) List() []job.APIKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.keys)
}

func (f *fakeKeys) Revoke(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.keys)
	f.keys = slices.DeleteFunc(f.keys, func(k job.APIKey) bool { return k.ID == id })
	if len(f.keys) == before {
		return job.ErrNotFound
	}
	return nil
}

func TestKeysRoutes(t *testing.T) {
	admin := newRig(t, 0)
	if a := admin.do("POST", "/keys", `{"name":"ci","admin":true}`); a.status != 201 || a.body["key"] != "tsubo_secret" || a.body["role"] != "admin" {
		t.Fatalf("create: %d %s", a.status, a.text)
	}
	if a := admin.do("GET", "/keys", ""); a.status != 200 || strings.Contains(a.text, "secret") || a.body["count"] != 1.0 {
		t.Errorf("list: %d %s", a.status, a.text)
	}
	for _, body := range []string{`{"name":5}`, `{"name":"` + strings.Repeat("x", 65) + `"}`, `{"role":"admin"}`, `{"admin":"true"}`, `[]`} {
		if a := admin.do("POST", "/keys", body); a.status != 422 {
			t.Errorf("create with %s: %d %s", body, a.status, a.text)
		}
	}
	if a := admin.do("DELETE", "/keys/nope", ""); a.status != 404 {
		t.Errorf("revoke none: %d %s", a.status, a.text)
	}
	if a := admin.raw("DELETE", "/keys/000000000001", ""); a.status != 204 {
		t.Errorf("revoke: %d %s", a.status, a.text)
	}
	user := newRig(t, 5000)
	for _, try := range [][2]string{{"GET", "/keys"}, {"POST", "/keys"}, {"DELETE", "/keys/x"}} {
		if a := user.do(try[0], try[1], "{}"); a.status != 403 {
			t.Errorf("%s %s by a user: %d", try[0], try[1], a.status)
		}
	}
}
