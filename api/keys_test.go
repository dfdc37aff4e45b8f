package api

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/scheduler"
)

// fakeKeys keeps keys in memory.
type fakeKeys struct {
	mu   sync.Mutex
	n    int
	keys []job.APIKey
}

func (f *fakeKeys) Create(name string, admin bool, expires time.Time) (string, job.APIKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	k := job.APIKey{ID: fmt.Sprintf("%012d", f.n), Name: name, Role: "user", CreatedAt: job.Stamp(time.Unix(1, 0)), ExpiresAt: job.StampOf(expires)}
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
	if a := admin.do("POST", "/keys", `{"expires_at":"2999-01-31T13:00:00+01:00"}`); a.status != 201 || a.body["expires_at"] != "2999-01-31T12:00:00+00:00" {
		t.Errorf("create with an expiry: %d %s", a.status, a.text)
	}
	if a := admin.do("GET", "/keys", ""); a.status != 200 || strings.Contains(a.text, "secret") || a.body["count"] != 2.0 {
		t.Errorf("list: %d %s", a.status, a.text)
	}
	for _, body := range []string{`{"name":5}`, `{"name":"` + strings.Repeat("x", 65) + `"}`, `{"role":"admin"}`, `{"admin":"true"}`, `{"expires_at":"2001-01-01T00:00:00Z"}`, `{"expires_at":"30d"}`, `{"expires_at":5}`, `[]`} {
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

// Each request checks the key's expiry; the refusal has a line in the audit log.
func TestExpiredKey(t *testing.T) {
	f := newFull(t, keyed, func(p *Policy, _ *scheduler.Options) {
		p.Auth.Find = func(sum [sha256.Size]byte) (FoundKey, bool) {
			return FoundKey{ID: "old", Expired: true}, sum == sha256.Sum256([]byte("old-key-0123456789"))
		}
	})
	log := &logBuffer{}
	f.server.log = slog.New(slog.NewTextHandler(log, nil))
	address := f.tcp(TCPOptions{})
	for key, want := range map[string]string{"old-key-0123456789": "has expired", "bad-key-0123456789": noKey} {
		status, body := say(t, "tcp", address, "GET /executions HTTP/1.1\r\nHost: x\r\nX-API-Key: "+key+"\r\n\r\n")
		if status != 401 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", key, status, body)
		}
	}
	if n := log.lines("key refused", "audit.status=401"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.b.String())
	}
}
