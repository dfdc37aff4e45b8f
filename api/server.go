package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Options of a Server. All are required except Log, Spool and Extensions.
type Options struct {
	Version    string
	Extensions []string // names for GET /version, besides those of this package
	Runtime    string   // "runsc" or "runc", for runs that are refused before they start
	Policy     Policy
	Jobs       Jobs
	Store      Store
	Images     Images
	Keys       Keys
	Facts      func() Facts
	Spool      string // directory on disk for inline artifacts on their way; "" is the temporary one
	Log        *slog.Logger
}

// Server is the http.Handler of the whole surface. It is safe for concurrent use.
type Server struct {
	opt        Options
	policy     atomic.Pointer[Policy]
	log        *slog.Logger
	routes     []route
	rateLimits rateLimits
	held       budget // bytes of bodies and answers in memory
	spooled    budget // bytes of inline artifacts on disk
	openAPI    []byte // as JSON
	docs       []byte

	heartbeat time.Duration // of silent streams
}

// Bounds on connections. A sync run may last as long as its timeouts, so nothing bounds the time
// between request and answer.
const (
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 30 * time.Second // for a whole buffered body
	unreadTimeout  = time.Second      // for the rest of a body that is not read, before its connection is closed
	archiveTimeout = 60 * time.Second // between two reads of an archive
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 60 * time.Second
	maxHeaderBytes = 64 << 10
)

// New checks the options.
func New(o Options) (*Server, error) {
	switch {
	case o.Jobs == nil || o.Store == nil || o.Images == nil || o.Keys == nil || o.Facts == nil:
		return nil, errors.New("api: no jobs, store, images, keys or facts")
	case o.Version == "" || o.Runtime == "":
		return nil, errors.New("api: no version or runtime")
	}
	s := &Server{opt: o, log: o.Log, heartbeat: heartbeat}
	if err := s.SetPolicy(o.Policy); err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes = s.table()
	return s, s.document()
}

// SetPolicy replaces the policy for requests that come from now on. When it is wrong the old one
// stays.
func (s *Server) SetPolicy(p Policy) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	s.policy.Store(&p)
	return nil
}

// HTTP is the http.Server that serves this surface on listeners from Listen. The caller owns it.
func (s *Server) HTTP() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // no HTTP/2, neither negotiated nor by prior knowledge
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if p, is := c.(*peerConn); is {
				return context.WithValue(ctx, peerKey{}, p.uid)
			}
			if t, is := c.(*tls.Conn); is {
				c = t.NetConn()
			}
			if b, is := c.(*boundedConn); is {
				return context.WithValue(ctx, connKey{}, b)
			}
			return ctx
		},
	}
}

// Caller is who sent a request.
type Caller struct {
	Name  string // stable: "uid:1000"
	Admin bool
}

// Keys of a connection's context: the uid of a peer, and the *boundedConn of a caller on TCP.
type (
	peerKey struct{}
	connKey struct{}
)

// call is one request on its way through the surface.
type call struct {
	*http.Request
	w           *answerWriter
	server      *Server
	control     *http.ResponseController
	caller      Caller
	correlation string
	policy      *Policy // one and the same for the whole request
	route       *route  // nil when there is none
	allow       string  // methods that the path has, when it has not this one
	params      []string
	body        []byte // whole, unless the route streams
	held        int64  // bytes counted in Server.held
	subject     string // of an admin's act, for the audit log: a key's id, an image's name
	foreign     bool   // the request names another caller's job, which only an admin's may
}

// answerWriter knows whether an answer has begun.
type answerWriter struct {
	http.ResponseWriter
	begun  bool
	status int
}

func (w *answerWriter) WriteHeader(status int) {
	w.begun, w.status = true, status
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP gives every answer its headers and puts every request through the same steps (wire.md
// 1.0).
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answerWriter{ResponseWriter: rw}
	c := &call{Request: r, server: s, w: w, control: http.NewResponseController(rw), correlation: r.Header.Get("X-Correlation-ID"), policy: s.policy.Load()}
	if c.correlation == "" {
		c.correlation = uuid.NewString()
	}
	h := w.Header()
	h.Set("X-Correlation-ID", c.correlation)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-XSS-Protection", "1; mode=block")
	defer func() { s.held.give(c.caller.Name, c.held) }()
	defer s.audit(c)
	defer s.contain(c)
	_ = c.control.SetWriteDeadline(time.Time{}) // that of the connection's last answer; fails where there is no connection

	s.find(c)
	for _, step := range []func(*call) bool{s.enter, s.authorize, s.bounded} {
		if !step(c) {
			return
		}
	}
	switch {
	case c.route != nil:
		c.route.handle(c)
	case c.allow != "":
		h.Set("Allow", c.allow)
		c.json(http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
	default:
		c.json(http.StatusNotFound, map[string]string{"detail": "Not Found"})
	}
}

// Steps of ServeHTTP, in their order. Each answers when it returns false. Who calls is known before
// anything of the body is read.

// authorize asks for the route's role.
func (s *Server) authorize(c *call) bool {
	if c.route != nil && c.route.role != rolePublic && c.route.path != "/" && s.foreign(c) {
		c.leaveBody()
		c.refuse(http.StatusForbidden, notLocal)
		return false
	}
	if c.route == nil || c.route.role != roleAdmin || c.caller.Admin {
		return true
	}
	c.refuse(http.StatusForbidden, "This needs the admin role: uid 0 or one of admin_uids")
	return false
}

// bounded reads the body within its limit where the route takes one. A route that streams reads its
// own body.
func (s *Server) bounded(c *call) bool {
	switch {
	case c.route == nil || c.route.method != http.MethodPost:
		return c.skipBody(c.policy.MaxPayloadBytes)
	case c.route.stream:
		return true
	}
	return s.readBody(c, c.policy.MaxPayloadBytes)
}

// contain turns a handler's panic into a 500, or a broken connection where the answer has begun.
func (s *Server) contain(c *call) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // panicked with as it is
		panic(p)
	}
	s.log.Error("handler panicked", "method", c.Method, "correlation_id", c.correlation, "panic", p, "stack", string(debug.Stack()))
	if c.w.begun {
		panic(http.ErrAbortHandler)
	}
	c.refuse(http.StatusInternalServerError, "Internal server error")
}
