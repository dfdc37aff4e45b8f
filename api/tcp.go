package api

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// TCPOptions say where the TCP listener is.
type TCPOptions struct {
	Host string // an address, or "localhost"
	Port int    // 0: any free one
	// CertFile and KeyFile are PEM; without them the listener speaks plain HTTP.
	CertFile, KeyFile string
	// MaxConns bounds the open connections; one over them is closed at once. They are counted apart from those of the Unix socket, so
	// that nobody on the network shuts local callers out. 0 is DefaultMaxConns.
	MaxConns int
}

// ListenTCP opens the listener. Whether it may be open at all is the configuration's matter (config.CheckFrontDoor).
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
	most := o.MaxConns
	if most == 0 {
		most = DefaultMaxConns
	}
	bounded := &boundedListener{Listener: inner, most: int64(most)}
	if secure != nil {
		return tls.NewListener(bounded, secure), nil
	}
	return bounded, nil
}

// boundedListener has at most that many connections open.
type boundedListener struct {
	net.Listener
	most int64
	open atomic.Int64
}

// Accept returns the next connection that the bound allows; one over it is closed at once.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > l.most {
			l.open.Add(-1)
			_ = c.Close() // nothing was said on it
			continue
		}
		return &boundedConn{Conn: c, release: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
	}
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
