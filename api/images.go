package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// listImages is GET /images.
func (s *Server) listImages(c *call) {
	all, err := s.opt.Images.List(c.Context())
	if err != nil {
		s.failed(c, "Image list error", err)
		return
	}
	items := make([]imageAnswer, len(all))
	for i, image := range all {
		items[i] = imageAnswer{image, job.StampOf(image.CreatedAt)}
	}
	c.json(http.StatusOK, struct {
		Items []imageAnswer `json:"items"`
		Count int           `json:"count"`
	}{items, len(items)})
}

// imageAnswer is an image with its time as all times are on the wire.
type imageAnswer struct {
	job.Image
	CreatedAt *job.Stamp `json:"created_at"`
}

// importImage is POST /images?name=N: the body is an OCI archive. Only the admin role comes here.
func (s *Server) importImage(c *call) {
	name, ok := c.imageName()
	if !ok {
		return
	}
	c.subject = name
	limit := c.policy.MaxArchiveBytes
	if c.ContentLength > limit {
		c.tooLarge(limit)
		return
	}
	archive := &archiveReader{c: c, left: limit}
	image, err := s.opt.Images.Import(c.Context(), name, archive)
	_ = c.control.SetReadDeadline(time.Time{}) // fails where there is no connection
	switch {
	case archive.over:
		c.tooLarge(limit)
	case err != nil:
		c.leaveBody()                                                 // the rest of the archive is not read
		if refused := (*job.Refusal)(nil); errors.As(err, &refused) { // failed logs all else
			s.log.Warn("image refused", "correlation_id", c.correlation, "name", name, "error", err)
		}
		s.failed(c, "Import error", err)
	default:
		c.json(http.StatusCreated, imageAnswer{image, job.StampOf(image.CreatedAt)})
	}
}

// imageName reads the query parameter. When it returns false it has answered.
func (c *call) imageName() (string, bool) {
	wrong := func(kind, message string, input any) {
		echo, err := json.Marshal(input)
		if err != nil || len(echo) > 1024 {
			echo = json.RawMessage("null")
		}
		c.leaveBody()
		c.invalid([]strictjson.Problem{{Type: kind, Loc: []any{"query", "name"}, Msg: message, Input: echo}})
	}
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		wrong("value_error", "Value error, the query string is malformed", nil)
		return "", false
	}
	names := query["name"]
	if len(names) != 1 {
		wrong("missing", "Field required", nil)
		return "", false
	}
	if err := job.CheckImageName(names[0]); err != nil {
		wrong("value_error", "Value error, "+err.Error(), names[0])
		return "", false
	}
	return names[0], true
}

// archiveReader reads an uploaded archive within its limit. It waits for each piece for a bounded
// time.
type archiveReader struct {
	c    *call
	left int64
	over bool
}

func (r *archiveReader) Read(p []byte) (int, error) {
	if r.over {
		return 0, job.Refuse(job.TooBig, "The archive is too large")
	}
	_ = r.c.control.SetReadDeadline(time.Now().Add(archiveTimeout)) // fails where there is no connection
	if int64(len(p)) > r.left+1 {
		p = p[:r.left+1] // one byte more than allowed distinguishes an archive at the limit from one over it
	}
	n, err := r.c.Body.Read(p)
	if int64(n) > r.left {
		n, r.over = int(r.left), true
		err = job.Refuse(job.TooBig, "The archive is too large")
	}
	r.left -= int64(n)
	return n, err
}

var _ io.Reader = (*archiveReader)(nil)
