package api

import (
	"errors"
	"net/http"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// Keys are the API keys that were made here (ruling 14), besides those of the configuration.
type Keys interface {
	// Create makes a key and returns its text, which cannot be had again.
	Create(name string, admin bool) (text string, key job.APIKey, err error)
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
	if !c.done(o) {
		return
	}
	secret, key, err := s.opt.Keys.Create(name, admin)
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
