package api

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// role is what a route asks of its caller (ruling 16).
type role string

const (
	rolePublic role = "public" // no key is asked for, no rate is counted (wire.md 1.0)
	roleUser   role = "user"
	roleAdmin  role = "admin"
)

// route is one operation. In its path a segment in braces stands for any one that is not empty. A
// route that streams reads its own body.
type route struct {
	method, path string
	role         role
	stream       bool
	handle       func(*call)
}

// table is every operation there is.
func (s *Server) table() []route {
	const get, head, post, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete
	return []route{
		{get, "/", roleUser, false, s.home},
		{get, "/docs", rolePublic, false, s.docsPage},
		{get, "/redoc", rolePublic, false, s.docsPage},
		{get, "/openapi.json", rolePublic, false, s.openAPIDocument},
		{get, "/health", rolePublic, false, s.health},
		{get, "/version", roleUser, false, s.version},
		{get, "/pool/stats", roleUser, false, s.poolStats},
		{get, "/pool/sandboxes", roleUser, false, s.poolSandboxes},
		{post, "/execute", roleUser, false, s.execute},
		{post, "/execute/async", roleUser, false, s.submit},
		{get, "/jobs/{job_id}", roleUser, false, s.jobStatus},
		{get, "/jobs/{job_id}/result", roleUser, false, s.jobResult},
		{get, "/jobs/{job_id}/events", roleUser, false, s.jobEvents},
		{post, "/jobs/{job_id}/cancel", roleUser, false, s.cancel},
		{post, "/jobs/{job_id}/rerun", roleUser, false, s.rerun},
		{post, "/jobs/{job_id}/fork", roleUser, false, s.fork},
		{get, "/jobs/{job_id}/artifacts/{artifact_name}", roleUser, false, s.artifact},
		{head, "/jobs/{job_id}/artifacts/{artifact_name}", roleUser, false, s.artifact},
		{get, "/executions", roleUser, false, s.listExecutions},
		{get, "/executions/{execution_id}", roleUser, false, s.execution},
		{del, "/executions/{execution_id}", roleUser, false, s.deleteExecution},
		{get, "/job-types", roleUser, false, s.listJobTypes},
		{get, "/job-types/{name}", roleUser, false, s.jobType},
		{post, "/job-types/{name}/build", roleAdmin, false, s.buildJobType},
		{get, "/dlq/stats", roleAdmin, false, s.deadStats},
		{get, "/dlq", roleAdmin, false, s.deadLetters},
		{del, "/dlq/{entry_id}", roleAdmin, false, s.removeDead},
		{get, "/images", roleUser, false, s.listImages},
		{post, "/images", roleAdmin, true, s.importImage},
		{get, "/check", roleAdmin, false, s.check},
		{get, "/backup", roleAdmin, false, s.backup},
		{get, "/keys", roleAdmin, false, s.listKeys},
		{post, "/keys", roleAdmin, false, s.createKey},
		{del, "/keys/{key_id}", roleAdmin, false, s.revokeKey},
	}
}

// find sets the route of a request by its path as it was sent, without any cleaning, so that no
// second spelling of a path reaches a handler. When only the method is wrong, allow names the right
// ones.
func (s *Server) find(c *call) {
	path := c.URL.EscapedPath()
	var methods []string
	for i := range s.routes {
		t := &s.routes[i]
		params, fits := match(t.path, path)
		switch {
		case !fits:
		case t.method == c.Method:
			c.route, c.params, c.allow = t, params, ""
			return
		default:
			methods = append(methods, t.method)
		}
	}
	c.allow = strings.Join(methods, ", ")
}

// match compares a path with a pattern and returns the decoded segments that stand for those in
// braces.
func match(pattern, path string) (params []string, fits bool) {
	if !strings.Contains(pattern, "{") {
		return nil, pattern == path
	}
	for {
		want, wantRest, wantMore := strings.Cut(pattern, "/")
		have, haveRest, haveMore := strings.Cut(path, "/")
		if wantMore != haveMore {
			return nil, false
		}
		if strings.HasPrefix(want, "{") {
			text, err := url.PathUnescape(have)
			if err != nil || text == "" || !utf8.ValidString(text) {
				return nil, false
			}
			params = append(params, text)
		} else if want != have {
			return nil, false
		}
		if !wantMore {
			return params, true
		}
		pattern, path = wantRest, haveRest
	}
}
