package api

import (
	"log/slog"
	"net/http"
	"strings"
)

// audit logs two kinds of requests once they are answered or broken off: those of an admin's route,
// whoever sent them, and those by which an admin changes another caller's job.
func (s *Server) audit(c *call) {
	admins := c.route != nil && c.route.role == roleAdmin
	others := c.foreign && c.Method != http.MethodGet && c.Method != http.MethodHead
	if c.route == nil || c.caller.Name == "" || !admins && !others {
		return
	}
	subject := c.subject
	if subject == "" {
		subject = strings.Join(c.params, "/")
	}
	s.log.Info("admin act", slog.Group("audit", "identity", c.caller.Name, "admin", c.caller.Admin, "act", c.Method+" "+c.route.path,
		"subject", subject, "status", c.w.status, "correlation_id", c.shortCorrelation()))
}

// auditRefusal logs a key that was refused. The key itself is not logged.
func (s *Server) auditRefusal(c *call) {
	s.log.Warn("key refused", slog.Group("audit", "identity", "ip:"+c.ip(), "act", c.Method+" "+c.URL.EscapedPath(), "status", 401,
		"correlation_id", c.shortCorrelation()))
}

// shortCorrelation is the correlation id as records have it.
func (c *call) shortCorrelation() string {
	return strings.ToValidUTF8(c.correlation[:min(len(c.correlation), maxCorrelation)], "")
}
