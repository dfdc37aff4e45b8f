package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// Keys are the API keys that were made here (ruling 14), besides those of the configuration.
type Keys interface {
	// Create makes a key and returns its text, which cannot be had again. A zero expires means
	// never.
	Create(name string, admin bool, expires time.Time) (text string, key job.APIKey, err error)
	List() []job.APIKey
	// Revoke shuts a key out from now on. job.ErrNotFound is among its errors.
	Revoke(id string) error
}

// createKey is POST /keys.
func (s *Server) createKey(c *call) {
	o, ok := c.object()
	if !ok {
		return
	}
	name := text(o.String("name", strictjson.StringRule{Max: 64}))
	admin := o.Bool("admin", false)
	value := o.Value("expires_at")
	var expires time.Time
	if given := text(o.String("expires_at", strictjson.StringRule{Max: 64})); given != "" {
		var err error
		if expires, err = time.Parse(time.RFC3339, given); err != nil || !expires.After(time.Now()) {
			o.ReportValue("expires_at must be a time to come in RFC 3339, such as 2030-01-31T12:00:00Z", value, "expires_at")
		}
	}
	if !c.done(o) {
		return
	}
	secret, key, err := s.opt.Keys.Create(name, admin, expires)
	if err != nil {
		s.failed(c, "Key error", err)
		return
	}
	c.subject = key.ID
	c.w.Header().Set("Cache-Control", "no-store")
	c.json(http.StatusCreated, job.NewKeyAnswer{APIKey: key, Key: secret})
}

// listKeys is GET /keys.
func (s *Server) listKeys(c *call) {
	items := s.opt.Keys.List()
	if items == nil {
		items = []job.APIKey{}
	}
	c.json(http.StatusOK, job.KeysAnswer{Items: items, Count: len(items)})
}

// revokeKey is DELETE /keys/{key_id}.
func (s *Server) revokeKey(c *call) {
	switch err := s.opt.Keys.Revoke(c.params[0]); {
	case errors.Is(err, job.ErrNotFound):
		c.refuse(http.StatusNotFound, "Key not found")
	case err != nil:
		s.failed(c, "Key error", err)
	default:
		c.w.WriteHeader(http.StatusNoContent)
	}
}
