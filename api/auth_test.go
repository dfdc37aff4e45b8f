package api

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/scheduler"
)

func TestAuthByKey(t *testing.T) {
	const user, admin, made, old = "user-key-0123456789", "admin-key-0123456789", "made-key-0123456789", "old-key-0123456789"
	d := &Auth{
		RequireKey: true, Header: "X-API-Key",
		Keys: []Key{{SHA256: sha256.Sum256([]byte(user))}, {SHA256: sha256.Sum256([]byte(admin)), Admin: true}},
		Find: func(sum [sha256.Size]byte) (FoundKey, bool) {
			expired := sum == sha256.Sum256([]byte(old))
			return FoundKey{ID: "m1", Expired: expired}, expired || sum == sha256.Sum256([]byte(made))
		},
	}
	for name, c := range map[string]struct {
		header http.Header
		known  bool
		admin  bool
	}{
		"none":                   {http.Header{}, false, false},
		"header":                 {http.Header{"X-Api-Key": {user}}, true, false},
		"bearer":                 {http.Header{"Authorization": {"Bearer " + user}}, true, false},
		"lower-case scheme":      {http.Header{"Authorization": {"bearer " + user}}, true, false},
		"admin":                  {http.Header{"X-Api-Key": {admin}}, true, true},
		"made with keys create":  {http.Header{"X-Api-Key": {made}}, true, false},
		"expired":                {http.Header{"X-Api-Key": {old}}, false, false},
		"basic":                  {http.Header{"Authorization": {"Basic " + user}}, false, false},
		"wrong":                  {http.Header{"X-Api-Key": {"wrong-key-0123456789"}}, false, false},
		"empty":                  {http.Header{"X-Api-Key": {""}}, false, false},
		"prefix":                 {http.Header{"X-Api-Key": {user[:10]}}, false, false},
		"with a space":           {http.Header{"X-Api-Key": {user + " "}}, false, false},
		"its hash":               {http.Header{"X-Api-Key": {"sha256:" + user}}, false, false},
		"not ASCII":              {http.Header{"X-Api-Key": {"schlüssel-\xff-0123456789"}}, false, false},
		"in a cookie":            {http.Header{"Cookie": {"X-API-Key=" + user}}, false, false},
		"bad first, good second": {http.Header{"X-Api-Key": {"wrong-key-0123456789", user}}, false, false},
		"good first, bad second": {http.Header{"X-Api-Key": {user}, "Authorization": {"Bearer wrong"}}, false, false},
		"the same twice":         {http.Header{"Authorization": {"Bearer " + user, "Bearer " + user}}, true, false},
		"the same, both headers": {http.Header{"X-Api-Key": {admin}, "Authorization": {"Bearer " + admin}}, true, true},
		"two good ones":          {http.Header{"X-Api-Key": {user}, "Authorization": {"Bearer " + admin}}, false, false},
		"good and empty":         {http.Header{"X-Api-Key": {"", user}}, false, false},
		"basic beside a good":    {http.Header{"X-Api-Key": {user}, "Authorization": {"Basic eDp5"}}, true, false},
		"no scheme beside it":    {http.Header{"X-Api-Key": {user}, "Authorization": {admin}}, true, false},
		"no scheme":              {http.Header{"Authorization": {user}}, false, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/executions?X-API-Key="+user, nil)
		r.Header = c.header
		call := &call{Request: r}
		known, _ := d.identify(call)
		if known != c.known || call.caller.Admin != c.admin || known == (call.caller.Name == "") {
			t.Errorf("%s: known %v, caller %+v", name, known, call.caller)
		}
	}
	// Another user's key is another tenant.
	names := map[string]bool{}
	for _, key := range []string{user, admin, made} {
		r := httptest.NewRequest(http.MethodGet, "/executions", nil)
		r.Header.Set("X-API-Key", key)
		call := &call{Request: r}
		d.identify(call)
		names[call.caller.Name] = true
	}
	if len(names) != 3 {
		t.Errorf("tenants %v", names)
	}
}

func TestAuthOnLoopback(t *testing.T) {
	for name, c := range map[string]struct {
		role, host, origin string
		known, admin       bool
	}{
		"user":                    {LoopbackUser, "127.0.0.1:8000", "", true, false},
		"admin":                   {LoopbackAdmin, "localhost:8000", "", true, true},
		"v6":                      {LoopbackUser, "[::1]:8000", "", true, false},
		"its own page":            {LoopbackUser, "localhost:8000", "http://localhost:8000", true, false},
		"DNS rebinding":           {LoopbackUser, "evil.example:8000", "", false, false},
		"no host":                 {LoopbackUser, "", "", false, false},
		"a name that looks local": {LoopbackUser, "localhost.evil.example", "", false, false},
		"another site's page":     {LoopbackAdmin, "127.0.0.1:8000", "http://evil.example", false, false},
		"a sandboxed page":        {LoopbackAdmin, "127.0.0.1:8000", "null", false, false},
		"another port's page":     {LoopbackUser, "127.0.0.1:8000", "http://127.0.0.1:3000", false, false},
		"nobody":                  {"", "127.0.0.1:8000", "", false, false},
		"open, anywhere":          {OpenToAll, "10.0.0.1:8000", "", true, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/execute", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		call := &call{Request: r}
		known, _ := (&Auth{LoopbackRole: c.role}).identify(call)
		if known != c.known || call.caller.Admin != c.admin {
			t.Errorf("%s: known %v, caller %+v", name, known, call.caller)
		}
	}
}

func TestWindows(t *testing.T) {
	var w windows
	now := time.Unix(1000, 0)
	for i := range 3 {
		if _, ok := w.take("a", 3, time.Minute, now); !ok {
			t.Fatalf("request %d refused", i+1)
		}
	}
	wait, ok := w.take("a", 3, time.Minute, now.Add(20*time.Second))
	if ok || wait != 40*time.Second {
		t.Errorf("the fourth: ok %v, wait %s, want 40s", ok, wait)
	}
	if _, ok := w.take("b", 3, time.Minute, now); !ok {
		t.Error("another identity pays for the first one")
	}
	if _, ok := w.take("a", 3, time.Minute, now.Add(time.Minute)); !ok {
		t.Error("the next window is closed, too")
	}
	for i := range 2 * maxIdentities {
		w.take("x"+strconv.Itoa(i), 3, time.Minute, now.Add(time.Minute))
	}
	if len(w.by) > maxIdentities {
		t.Errorf("%d identities are counted", len(w.by))
	}
	if _, ok := w.take("a", 3, time.Minute, now.Add(61*time.Second)); !ok {
		t.Error("who was there was pushed out by a flood of new identities")
	}
	if _, ok := w.take("new", 3, time.Minute, now.Add(3*time.Minute)); !ok {
		t.Error("windows that have ended still take room")
	}
}

func TestExemptHasOneSpelling(t *testing.T) {
	for path, want := range map[string]bool{
		"/health": true, "/docs": true, "/docs/x": true, "/redoc": true, "/openapi.json": true, "/docs/oauth2-redirect": true,
		"/": false, "/health/": false, "/Health": false, "//health": false, "/docsx": false, "/%68ealth": false, "/executions": false,
	} {
		if exempt(path) != want {
			t.Errorf("exempt(%q) = %v", path, !want)
		}
	}
}

func TestAllowedUIDs(t *testing.T) {
	policy := testPolicy()
	policy.AllowedUIDs = []uint32{1001}
	for uid, want := range map[uint32]int{0: 200, 1000: 200, 1001: 200, 1002: 403} { // 1000 is among the admin_uids
		r := newRig(t, uid)
		if err := r.server.SetPolicy(policy); err != nil {
			t.Fatal(err)
		}
		if a := r.do("GET", "/executions", ""); a.status != want {
			t.Errorf("uid %d: %d %s, want %d", uid, a.status, a.text, want)
		}
		if a := r.do("GET", "/health", ""); a.status != 200 {
			t.Errorf("health for uid %d: %d", uid, a.status)
		}
	}
}

func TestNetwork(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64",
		"2001:db8:1:3::9": "2001:db8:1:3::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64", "unknown": "unknown",
	} {
		if got := network(ip); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

// A table full of addresses shuts no key out.
func TestKeysBeforeAddresses(t *testing.T) {
	f := newFull(t, func(p *Policy, _ *scheduler.Options) {
		keyed(p, nil)
		p.Auth.Requests, p.Auth.WindowSeconds = 3, 3600
	})
	for i := range 2 * maxIdentities {
		f.server.rateLimits.addresses.take(strconv.Itoa(i), 3, time.Hour, time.Now())
	}
	address := f.tcp(TCPOptions{})
	if status, body := say(t, "tcp", address, "GET /executions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: "+aliceKey+"\r\n\r\n"); status != 200 {
		t.Errorf("a good key: %d %s", status, body)
	}
	if status, _ := say(t, "tcp", address, "GET /executions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: wrong\r\n\r\n"); status != 429 {
		t.Errorf("a wrong key from a new address: %d, want 429", status)
	}
}
