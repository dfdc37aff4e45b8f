package api

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
)

// TCPOptions locate the TCP listener.
type TCPOptions struct {
	Host string // an address, or "localhost"
	Port int    // 0: any free one
	// CertFile and KeyFile are PEM; without them the listener speaks plain HTTP.
	CertFile, KeyFile string
	// MaxConns bounds the open connections (see tcpConns). They are counted apart from those of the
	// Unix socket, so that nobody on the network shuts local callers out. 0 is DefaultMaxConns, the
	// least is 8.
	MaxConns int
}

// ListenTCP opens the listener. Whether it may be open at all is the configuration's matter
// (config.CheckAccess).
func ListenTCP(o TCPOptions) (net.Listener, error) {
	address := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	var secure *tls.Config
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("field tls_cert: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("field server_host: listen on %s: %w", address, err)
	}
	bounded := &boundedListener{Listener: inner, conns: newTCPConns(cmp.Or(o.MaxConns, DefaultMaxConns))}
	if secure != nil {
		return tls.NewListener(bounded, secure), nil
	}
	return bounded, nil
}

// boundedListener has a bounded number of connections open (see tcpConns).
type boundedListener struct {
	net.Listener
	conns *tcpConns
}

// Accept returns the next connection. One that is unknown may be closed for it.
func (l *boundedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = "unknown"
	}
	b := &boundedConn{Conn: c, conns: l.conns, from: network(host)}
	if out := l.conns.add(b); out != nil {
		_ = out.Close() // its caller has shown no key
	}
	return b, nil
}

// boundedConn is a connection that is counted until it is closed.
type boundedConn struct {
	net.Conn
	conns *tcpConns
	from  string // network of the address

	// conns.mu guards these.
	identity string // "" until its caller is known
	closed   bool
}

// know moves the connection from those of its address to those of an identity, which may be an
// address, too.
func (c *boundedConn) know(identity string, isAddress bool) {
	share := c.conns.most / 2
	if isAddress {
		share = c.conns.most / 8
	}
	c.conns.know(c, identity, share)
}

// Close implements net.Conn. It may come twice.
func (c *boundedConn) Close() error {
	c.conns.remove(c)
	return c.Conn.Close()
}

// tcpConns counts connections. Unknown ones, on which nobody has shown a key yet, have three
// quarters of all places, and one address (one /64 of IPv6) an eighth. A new connection always gets
// a place: where there is none, the oldest unknown one of the address with the most of them is
// closed for it. So a flood closes its own connections, and a caller with a key gets in. Known
// connections are never closed for others; the last quarter of the places is theirs alone, and one
// identity has half of all at most. Safe for concurrent use.
type tcpConns struct {
	most int

	mu      sync.Mutex
	known   map[string]int            // by identity
	all     int                       // of known
	unknown map[string][]*boundedConn // by address, oldest first
	waiting int                       // of unknown
}

func newTCPConns(most int) *tcpConns {
	return &tcpConns{most: max(most, 8), known: map[string]int{}, unknown: map[string][]*boundedConn{}}
}

// add counts a new connection and returns the one that must be closed for it, if any.
func (t *tcpConns) add(c *boundedConn) (out *boundedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unknown[c.from] = append(t.unknown[c.from], c)
	t.waiting++
	from := ""
	switch {
	case len(t.unknown[c.from]) > t.most/8:
		from = c.from
	case t.waiting > t.most-t.most/4 || t.waiting+t.all > t.most:
		for address, conns := range t.unknown {
			if from == "" || len(conns) > len(t.unknown[from]) {
				from = address
			}
		}
	default:
		return nil
	}
	out = t.unknown[from][0]
	t.drop(out)
	return out
}

// know counts a connection under an identity, unless that has its share already.
func (t *tcpConns) know(c *boundedConn, identity string, share int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed || c.identity != "" || t.known[identity] >= share {
		return
	}
	t.drop(c)
	c.closed, c.identity = false, identity
	t.known[identity]++
	t.all++
}

// remove takes a connection off the count.
func (t *tcpConns) remove(c *boundedConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.closed:
		return
	case c.identity == "":
		t.drop(c)
		return
	}
	c.closed = true
	t.all--
	if t.known[c.identity]--; t.known[c.identity] == 0 {
		delete(t.known, c.identity)
	}
}

// drop takes an unknown connection off the count. t.mu must be held.
func (t *tcpConns) drop(c *boundedConn) {
	c.closed = true
	t.waiting--
	rest := slices.DeleteFunc(t.unknown[c.from], func(o *boundedConn) bool { return o == c })
	if t.unknown[c.from] = rest; len(rest) == 0 {
		delete(t.unknown, c.from)
	}
}
