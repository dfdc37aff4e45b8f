package api

import (
	"net/http"
	"strings"
)

// role is what a route asks of its caller (ruling 16).
type role string

const (
	roleUser  role = "user"
	roleAdmin role = "admin"
)

// route is one operation. A route that streams reads its own body.
type route struct {
	method, path string
	role         role
	stream       bool
	handle       func(*call)
}

// table is every operation there is.
func (s *Server) table() []route {
	return []route{
		{http.MethodPost, "/execute", roleUser, false, s.execute},
		{http.MethodGet, "/health", roleUser, false, s.health},
		{http.MethodGet, "/pool/stats", roleUser, false, s.poolStats},
		{http.MethodGet, "/version", roleUser, false, s.version},
		{http.MethodGet, "/images", roleUser, false, s.listImages},
		{http.MethodPost, "/images", roleAdmin, true, s.importImage},
	}
}

// route finds the operation of a request by its path as it was sent, without any cleaning, so that no second spelling of a path
// reaches a handler. When only the method is wrong, allow names the right ones.
func (s *Server) route(r *http.Request) (found *route, allow string) {
	var methods []string
	for i := range s.routes {
		switch t := &s.routes[i]; {
		case t.path != r.URL.EscapedPath():
		case t.method == r.Method:
			return t, ""
		default:
			methods = append(methods, t.method)
		}
	}
	return nil, strings.Join(methods, ", ")
}
