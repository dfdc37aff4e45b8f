package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tsubo-run/tsubo/job"
)

// Executor runs a job to its end and returns its result as a value. Its error is a *job.Refusal when nothing ran; it returns soon
// after ctx is done.
type Executor interface {
	Execute(ctx context.Context, s *job.Spec, o job.Observer) (*job.Result, error)
	Stats() job.QueueStats
}

// Images is the catalogue. Import reads an OCI archive (a tar of an image layout) to its end and makes it known under name;
// a *job.Refusal says what is wrong with it. After an error nothing of it is left. archive is not used after Import has returned.
type Images interface {
	List(ctx context.Context) ([]job.Image, error)
	Import(ctx context.Context, name string, archive io.Reader) (job.Image, error)
}

// Facts is what the daemon knows about itself for GET /health.
type Facts struct {
	Ready   bool // start-up is over
	GVisor  bool // the self-test of runsc passed
	Breaker job.Breaker
}

// Policy is what the configuration says about requests. All fields are required except AdminUIDs and ProductionMode.
type Policy struct {
	Types map[string]job.Type // by name; "default" is among them

	DefaultTimeout, DefaultStartupTimeout time.Duration // of requests that name no job type
	MaxTimeout, MaxStartupTimeout         time.Duration

	MaxPayloadBytes int64 // any request body except an archive
	MaxCodeBytes    int64
	MaxInputBytes   int64
	MaxArchiveBytes int64 // POST /images

	AdminUIDs      []uint32 // besides 0
	ProductionMode bool     // shown in /health only (ruling 6)
}

// Options of a Server. All are required except Log and Extensions.
type Options struct {
	Version    string
	Extensions []string // names for GET /version, besides those of this package
	Runtime    string   // "runsc" or "runc", for runs that are refused before they start
	Policy     Policy
	Executor   Executor
	Images     Images
	Facts      func() Facts
	Log        *slog.Logger
}

// Server is the http.Handler of the whole surface. It is safe for concurrent use.
type Server struct {
	opt    Options
	log    *slog.Logger
	routes []route
}

// Bounds on connections. A sync run may last as long as its timeouts, so nothing bounds the time between request and answer.
const (
	headerTimeout  = 10 * time.Second
	bodyTimeout    = 30 * time.Second // for a whole buffered body
	archiveTimeout = 60 * time.Second // between two reads of an archive
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 60 * time.Second
	maxHeaderBytes = 64 << 10
)

// New checks the options.
func New(o Options) (*Server, error) {
	switch {
	case o.Executor == nil || o.Images == nil || o.Facts == nil:
		return nil, errors.New("api: no executor, images or facts")
	case o.Version == "" || o.Runtime == "":
		return nil, errors.New("api: no version or runtime")
	}
	if err := o.Policy.check(); err != nil {
		return nil, err
	}
	s := &Server{opt: o, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes = s.table()
	return s, nil
}

func (p Policy) check() error {
	if _, ok := p.Types[defaultType]; !ok {
		return errors.New("api: no job type default")
	}
	for _, n := range []int64{
		p.MaxPayloadBytes, p.MaxCodeBytes, p.MaxInputBytes, p.MaxArchiveBytes,
		int64(p.DefaultTimeout), int64(p.DefaultStartupTimeout), int64(p.MaxTimeout), int64(p.MaxStartupTimeout),
	} {
		if n <= 0 {
			return errors.New("api: a limit of the policy is not set")
		}
	}
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
			return ctx
		},
	}
}

// Caller is who sent a request.
type Caller struct {
	Name  string // stable: "uid:1000"
	Admin bool
}

type peerKey struct{}

// caller reads the identity that the connection has; ok is false when it has none.
func (s *Server) caller(ctx context.Context) (c Caller, ok bool) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return Caller{}, false
	}
	return Caller{Name: uidName(uid), Admin: uid == 0 || slices.Contains(s.opt.Policy.AdminUIDs, uid)}, true
}

// call is one request on its way through the surface.
type call struct {
	*http.Request
	w           *answerWriter
	control     *http.ResponseController
	caller      Caller
	correlation string
	body        []byte // whole, unless the route streams
}

// answerWriter knows whether an answer has begun.
type answerWriter struct {
	http.ResponseWriter
	begun bool
}

func (w *answerWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP puts every request through the same steps: headers that every answer has, who calls, may they, the body within its
// limit, the route.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answerWriter{ResponseWriter: rw}
	c := &call{Request: r, w: w, control: http.NewResponseController(rw), correlation: r.Header.Get("X-Correlation-ID")}
	if c.correlation == "" {
		c.correlation = uuid.NewString()
	}
	h := w.Header()
	h.Set("X-Correlation-ID", c.correlation)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-XSS-Protection", "1; mode=block")
	defer s.contain(c)
	_ = c.control.SetWriteDeadline(time.Time{}) // that of the connection's last answer; fails where there is no connection

	var known bool
	if c.caller, known = s.caller(r.Context()); !known {
		c.refuse(http.StatusForbidden, "The connection has no identity")
		return
	}
	route, allow := s.route(r)
	if route != nil && route.role == roleAdmin && !c.caller.Admin {
		c.refuse(http.StatusForbidden, "This needs the admin role: uid 0 or one of admin_uids")
		return
	}
	if (route == nil || !route.stream) && !c.readBody(s.opt.Policy.MaxPayloadBytes) {
		return
	}
	switch {
	case route != nil:
		route.handle(c)
	case allow != "":
		h.Set("Allow", allow)
		c.json(http.StatusMethodNotAllowed, map[string]string{"detail": "Method Not Allowed"})
	default:
		c.json(http.StatusNotFound, map[string]string{"detail": "Not Found"})
	}
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
