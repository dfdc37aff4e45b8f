package config

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"os"
	"regexp"
	"strings"
	"time"
)

// Access configures authentication on TCP, and rate limits on every listener (wire.md rulings 14 to
// 16).
type Access struct {
	TCP  bool   // the listener is on: server_host or server_port is set, or --tcp
	Host string // an IP address or "localhost"
	Port int
	// TLSCert and TLSKey are PEM files. Both are set, or neither.
	TLSCert, TLSKey string

	// RequireKey makes TCP callers present one of Keys. On loopback without keys, LoopbackRole is
	// the role of an unknown caller: "" for no access, "user" or "admin".
	RequireKey   bool
	Header       string // header that may carry a key, besides Authorization: Bearer
	Keys         []Key
	LoopbackRole string
	// OpenNetwork is allow_unauthenticated_network_access, the explicit opt-out from keys and TLS
	// beyond loopback.
	OpenNetwork bool

	// RateRequests limits a TCP identity and UnixRequests a uid on the Unix socket, both per
	// RateWindow. Zero means no limit.
	RateRequests, UnixRequests int
	RateWindow                 time.Duration
}

// Key is an API key, stored only as its hash.
type Key struct {
	SHA256 [32]byte
	Admin  bool
}

// minKey is the minimum length of a user-chosen key, in characters. `tsubo keys create` generates
// 256 bits.
const minKey = 16

var (
	headerRE  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	sha256RE  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	keyHashRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func defaultAccess() Access {
	return Access{Host: "127.0.0.1", Port: 8000, Header: "X-API-Key", RateRequests: 120, RateWindow: time.Minute}
}

// bind reads the access keys. CheckAccess verifies dependencies between keys later, because --tcp
// affects them.
func (d *Access) bind(r *reader) {
	d.TCP = r.written("server_host") || r.written("server_port")
	r.text("server_host", &d.Host, 1, 253)
	if d.Host != "localhost" && net.ParseIP(d.Host) == nil {
		r.fail("server_host", "must be an IP address or localhost")
	}
	r.integer("server_port", &d.Port, 1, 65535)
	r.path("tls_cert", &d.TLSCert)
	r.path("tls_key", &d.TLSKey)
	if (d.TLSCert == "") != (d.TLSKey == "") {
		r.fail("tls_cert", "tls_cert and tls_key go together: set both, or none")
	}
	r.boolean("api_auth_enabled", &d.RequireKey)
	r.text("api_auth_header", &d.Header, 1, 64)
	if !headerRE.MatchString(d.Header) {
		r.fail("api_auth_header", "must be a header name of [A-Za-z0-9_-]")
	}
	d.bindKeys(r)
	r.boolean("allow_unauthenticated_network_access", &d.OpenNetwork)
	d.bindLoopback(r)
	limited := true
	r.boolean("api_rate_limit_enabled", &limited)
	r.integer("api_rate_limit_requests", &d.RateRequests, 1, 100000)
	r.seconds("api_rate_limit_window_seconds", &d.RateWindow, 1, 3600)
	r.integer("api_rate_limit_unix_requests", &d.UnixRequests, 0, 1000000)
	if !limited {
		d.RateRequests, d.UnixRequests = 0, 0
	}
}

// bindKeys reads api_keys. The file, which others may be able to read, must contain hashes; the
// environment may contain plain keys.
func (d *Access) bindKeys(r *reader) {
	_, fromEnv := r.env[variable("api_keys")]
	r.note("api_keys", []string{},
		"list of sha256:<64 hex digits>; in the environment the keys themselves, of at least %d characters", minKey)
	elements, ok := r.list("api_keys")
	if !ok {
		return
	}
	seen := map[[32]byte]bool{}
	for _, e := range elements {
		text, is := e.(string)
		text = strings.TrimSpace(text)
		var key Key
		switch {
		case !is:
			r.fail("api_keys", "each key must be a text")
			continue
		case keyHashRE.MatchString(text):
			_, _ = hex.Decode(key.SHA256[:], []byte(text[len("sha256:"):])) // keyHashRE matched
		case !fromEnv:
			r.fail("api_keys",
				"a key in the file must be sha256:<64 hex digits>, its hash: tsubo keys create makes one, "+
					"or hash your own with printf %%s KEY | sha256sum")
			continue
		case len(text) < minKey || strings.ContainsAny(text, "\r\n\x00"):
			r.fail("api_keys", "each key must have at least %d characters and no line break", minKey)
			continue
		default:
			key.SHA256 = sha256.Sum256([]byte(text))
		}
		if seen[key.SHA256] {
			r.fail("api_keys", "the same key is there twice")
			continue
		}
		seen[key.SHA256] = true
		d.Keys = append(d.Keys, key)
	}
}

// bindLoopback reads allow_unauthenticated_loopback: true, false or "admin".
func (d *Access) bindLoopback(r *reader) {
	r.note("allow_unauthenticated_loopback", false, "true, false or admin")
	value, fromEnv, ok := r.get("allow_unauthenticated_loopback")
	if !ok {
		return
	}
	text, _ := value.(string)
	switch {
	case value == true || fromEnv && isTrue(strings.ToLower(text), true):
		d.LoopbackRole = "user"
	case text == "admin":
		d.LoopbackRole = "admin"
	case value == false || fromEnv:
	default:
		r.fail("allow_unauthenticated_loopback", "must be true, false or admin")
	}
}

// Loopback reports whether the TCP listener is reachable only from this host.
func (d *Access) Loopback() bool {
	ip := net.ParseIP(d.Host)
	return d.Host == "localhost" || ip != nil && ip.IsLoopback()
}

// CheckAccess returns an error if the TCP listener would admit callers that it should not (ruling
// 14). For a listener that is open on purpose it returns warnings, which must be logged at every
// start. Call CheckAccess after --tcp has been applied. moreKeys reports whether keys exist outside
// the configuration.
func (c *Config) CheckAccess(moreKeys bool) (warnings []string, err error) {
	d := &c.Access
	if d.TLSKey != "" {
		if info, err := os.Stat(d.TLSKey); err == nil && info.Mode().Perm()&0o077 != 0 {
			return nil, fieldError("tls_key", "the file can be read by others: chmod 600 it")
		}
	}
	if d.RequireKey && len(d.Keys) == 0 && !moreKeys {
		return nil, fieldError("api_auth_enabled",
			"there is no key: make the first with tsubo keys create --offline --admin, or set api_keys")
	}
	switch {
	case !d.TCP:
		return nil, nil
	case d.Loopback():
		if d.RequireKey {
			return nil, nil
		}
		if d.LoopbackRole == "" {
			return nil, fieldError("server_host",
				"a TCP listener lets in every user of this host: set api_auth_enabled with keys, "+
					"or allow_unauthenticated_loopback: true")
		}
		return []string{"TCP on " + d.Host + " without keys: every user of this host is " + d.LoopbackRole +
			" (allow_unauthenticated_loopback)"}, nil
	case d.OpenNetwork:
		if d.RequireKey && d.TLSCert != "" {
			return nil, nil
		}
		return []string{"TCP on " + d.Host +
			" without keys or without TLS: whoever reaches it gets in (allow_unauthenticated_network_access)"}, nil
	case !d.RequireKey:
		return nil, fieldError("server_host",
			"beyond loopback callers need keys: set api_auth_enabled, or the opt-out "+
				"allow_unauthenticated_network_access: true")
	case d.TLSCert == "":
		return nil, fieldError("server_host",
			"beyond loopback keys need TLS: set tls_cert and tls_key, or the opt-out "+
				"allow_unauthenticated_network_access: true")
	}
	return nil, nil
}
