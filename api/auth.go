package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Auth configures who may call over TCP, and how often anybody may (wire.md rulings 14 to 16). The
// zero Auth has no keys and no limits; peers on the Unix socket are known by their uid in any case.
type Auth struct {
	RequireKey bool   // callers on TCP need a key
	Header     string // the header that a key may come in, besides Authorization: Bearer
	Keys       []Key  // those of the configuration
	// Find looks further keys up by the SHA-256 of their text; nil: there are none.
	Find func(sum [sha256.Size]byte) (FoundKey, bool)
	// LoopbackRole is what a caller on TCP is without RequireKey: "user" or "admin" from this host
	// alone (Host and Origin are checked), "open" a user from anywhere, "" nobody.
	LoopbackRole string

	Requests, UnixRequests int // for each identity in one window; 0: no limit
	WindowSeconds          int
}

// Key is an API key of the configuration, known by its hash alone.
type Key struct {
	SHA256 [sha256.Size]byte
	Admin  bool
}

// FoundKey is a key that Auth.Find knows.
type FoundKey struct {
	ID      string
	Admin   bool
	Expired bool // the key is refused
}

// Values of Auth.LoopbackRole.
const (
	LoopbackUser  = "user"
	LoopbackAdmin = "admin"
	OpenToAll     = "open"
)

// Details of refused credentials. Only the bearer of a key that once was valid gets more than
// noKey.
const (
	noKey      = "Missing or invalid API key."
	expiredKey = "The API key has expired: ask an admin for a new one (tsubo keys create)."
	tooMany    = "Rate limit exceeded. Try again later."
	notHere    = "The connection has no identity"
	notAllowed = "This user may not use tsubo: allowed_uids does not name it"
	notLocal   = "Host or Origin is not this server's: a page of another site cannot use it"
)

// enter is the first step of every request (wire.md 1.0): who calls, have they asked too often, may
// they come in at all. It reads nothing of the body.
func (s *Server) enter(c *call) bool {
	uid, unix := c.Context().Value(peerKey{}).(uint32)
	if unix {
		c.caller = Caller{Name: uidName(uid), Admin: uid == 0 || slices.Contains(c.policy.AdminUIDs, uid)}
		if allowed := c.policy.AllowedUIDs; len(allowed) > 0 && !c.caller.Admin && !slices.Contains(allowed, uid) && !exempt(c.URL.EscapedPath()) {
			c.leaveBody()
			c.refuse(http.StatusForbidden, notAllowed)
			return false
		}
		return s.rateLimit(c, &s.rateLimits.uids, c.caller.Name, c.policy.Auth.UnixRequests)
	}
	known, refusal := c.policy.Auth.identify(c)
	// The key comes first: no table of addresses stands in a good key's way. Whoever tries keys is
	// counted by address.
	table, identity := &s.rateLimits.keys, c.caller.Name
	if !known || c.policy.Auth.open() {
		table, identity = &s.rateLimits.addresses, "ip:"+network(c.ip())
	}
	if known {
		if conn, is := c.Context().Value(connKey{}).(*boundedConn); is {
			conn.know(identity, c.policy.Auth.open())
		}
	}
	if !s.rateLimit(c, table, identity, c.policy.Auth.Requests) {
		return false
	}
	if known || exempt(c.URL.EscapedPath()) && refusal != notLocal {
		return true
	}
	switch refusal {
	case noKey, expiredKey:
		s.auditRefusal(c)
		c.w.Header().Set("WWW-Authenticate", "Bearer")
		c.leaveBody()
		c.refuse(http.StatusUnauthorized, refusal)
	default:
		c.leaveBody()
		c.refuse(http.StatusForbidden, refusal)
	}
	return false
}

// open reports whether callers on TCP are known by their address alone.
func (d *Auth) open() bool { return !d.RequireKey && d.LoopbackRole == OpenToAll }

// identify authenticates a caller on TCP, or returns why not.
func (d *Auth) identify(c *call) (known bool, refusal string) {
	switch {
	case d.RequireKey:
		return d.byKey(c)
	case d.open():
		c.caller = Caller{Name: "ip:" + c.ip()}
		return true, ""
	case d.LoopbackRole == "":
		return false, notHere
	case !sameSite(c.Request):
		return false, notLocal
	}
	c.caller = Caller{Name: "loopback", Admin: d.LoopbackRole == LoopbackAdmin}
	return true, ""
}

// byKey wants one key (wire.md ruling 30). An Authorization of another scheme than Bearer does not
// count, and the same key twice is one key. Two different keys are refused: net/http does not keep
// the order of headers, so neither comes first.
func (d *Auth) byKey(c *call) (bool, string) {
	var given []string
	if d.Header != "" && !strings.EqualFold(d.Header, "Authorization") {
		given = append(given, c.Header.Values(d.Header)...)
	}
	for _, value := range c.Header.Values("Authorization") {
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			given = append(given, token)
		}
	}
	slices.Sort(given)
	if given = slices.Compact(given); len(given) != 1 || given[0] == "" {
		return false, noKey
	}
	sum := sha256.Sum256([]byte(given[0]))
	match := -1
	for i, k := range d.Keys { // all of them, so that the time reveals nothing
		if subtle.ConstantTimeCompare(k.SHA256[:], sum[:]) == 1 {
			match = i
		}
	}
	if match >= 0 {
		c.caller = Caller{Name: "key:" + hex.EncodeToString(sum[:6]), Admin: d.Keys[match].Admin}
		return true, ""
	}
	if d.Find != nil {
		if k, ok := d.Find(sum); ok {
			if k.Expired {
				return false, expiredKey
			}
			c.caller = Caller{Name: "key:" + k.ID, Admin: k.Admin}
			return true, ""
		}
	}
	return false, noKey
}

// sameSite is false for what a browser sends on behalf of another site (DNS rebinding, cross-site
// requests): a Host that is not this machine's loopback, or an Origin that is not that very Host.
func sameSite(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	ip, err := netip.ParseAddr(host)
	if !strings.EqualFold(host, "localhost") && (err != nil || !ip.IsLoopback()) {
		return false
	}
	for _, origin := range r.Header.Values("Origin") {
		if origin != "http://"+r.Host && origin != "https://"+r.Host {
			return false
		}
	}
	return true
}

// foreign reports whether a browser sent a request to keyless loopback for a page of another site.
// Such a GET has no Origin, and it must not make work.
func (s *Server) foreign(c *call) bool {
	if _, unix := c.Context().Value(peerKey{}).(uint32); unix || c.policy.Auth.RequireKey {
		return false
	}
	for _, site := range c.Header.Values("Sec-Fetch-Site") {
		if site != "same-origin" && site != "none" {
			return true
		}
	}
	return false
}

// ip is the address at the other end of a TCP connection. No header changes it.
func (c *call) ip() string {
	host, _, err := net.SplitHostPort(c.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	return host
}

// network is what connections and requests of an address are counted by: the address, and for IPv6
// its /64, all of which one host may have.
func network(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(64) // 64 fits every IPv6 address
	return p.String()
}

// exempt are the paths that need no key and are not counted (wire.md 1.0), as they are sent: no
// second spelling is one of them.
func exempt(path string) bool {
	switch path {
	case "/health", "/openapi.json", "/docs", "/redoc":
		return true
	}
	return strings.HasPrefix(path, "/docs/") || strings.HasPrefix(path, "/redoc/")
}
