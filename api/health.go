package api

import (
	"net/http"

	"github.com/tsubo-run/tsubo/job"
)

// health is GET /health (wire.md 1.11).
func (s *Server) health(c *call) {
	f := s.opt.Facts()
	if !f.Ready {
		c.json(http.StatusServiceUnavailable, struct {
			Status string `json:"status"`
			Detail string `json:"detail"`
		}{"starting", "Server is not ready yet"})
		return
	}
	status := "healthy"
	if !f.GVisor || f.Breaker.State == "open" {
		status = "degraded"
	}
	c.json(http.StatusOK, job.HealthAnswer{
		Status: status, GVisorAvailable: f.GVisor, CircuitBreaker: f.Breaker,
		Version: s.opt.Version, ProductionMode: c.policy.ProductionMode, QueueStats: s.opt.Jobs.Stats(),
	})
}

// poolStats is GET /pool/stats.
func (s *Server) poolStats(c *call) { c.json(http.StatusOK, s.opt.Jobs.Stats()) }

// poolSandboxes is GET /pool/sandboxes, a route of its own because the keys of /pool/stats are
// upstream's.
func (s *Server) poolSandboxes(c *call) { c.json(http.StatusOK, s.opt.Facts().Sandboxes) }

// version is GET /version (ruling 20).
func (s *Server) version(c *call) {
	own := []string{
		"args", "artifacts-inline", "code-files", "cpu-limit", "delete-execution", "enforced", "environment", "events", "filename", "files", "images", "keep-record", "memory-limit", "metadata",
		"raw-stdout", "stdin",
	}
	c.json(http.StatusOK, job.VersionAnswer{Version: s.opt.Version, Extensions: append(own, s.opt.Extensions...)})
}
