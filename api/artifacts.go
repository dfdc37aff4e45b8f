package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// maxRanges bounds the parts of one range request; one that asks for more gets the whole.
const maxRanges = 8

// artifact is GET and HEAD /jobs/{job_id}/artifacts/{artifact_name} (wire.md 1.8, ruling 8). HEAD
// is answered from the manifest alone.
func (s *Server) artifact(c *call) {
	f, ok := s.look(c, c.params[0], jobNotFound)
	if !ok {
		return
	}
	var ref *job.ArtifactRef
	if f.record != nil {
		for i := range f.record.Artifacts {
			if f.record.Artifacts[i].Name == c.params[1] {
				ref = &f.record.Artifacts[i]
			}
		}
	}
	if ref == nil {
		c.refuse(http.StatusNotFound, "Artifact not found")
		return
	}
	var content io.ReadSeeker = io.NewSectionReader(nothing{}, 0, ref.Size)
	request := c.Clone(c.Context())
	if c.Method == http.MethodHead {
		request.Header.Del("Range") // means something for GET only
	} else {
		file, err := s.opt.Store.Open(c.Context(), ref.SHA256)
		switch {
		case errors.Is(err, job.ErrNotFound):
			c.refuse(http.StatusNotFound, "Artifact file not found")
			return
		case err != nil:
			s.failed(c, "Artifact error", err)
			return
		}
		defer file.Close()
		if info, err := file.Stat(); err != nil || info.Size() != ref.Size {
			s.log.Error("artifact is not what its manifest says", "id", f.record.ID, "sha256", ref.SHA256, "error", err)
			c.refuse(http.StatusNotFound, "Artifact file not found")
			return
		}
		content = file
	}
	if strings.Count(strings.Join(request.Header.Values("Range"), ","), ",") >= maxRanges {
		request.Header.Del("Range")
	}
	h := c.w.Header()
	h.Set("Content-Type", kindOf(*ref))
	h.Set("ETag", `"`+ref.SHA256+`"`)
	h.Set("Content-Disposition", disposition(ref.Name))
	h.Set("Cache-Control", "private")
	http.ServeContent(&artifactWriter{c: c}, request, "", f.record.EndedAt, content)
}

// nothing has no bytes: a HEAD answer needs a length only.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// disposition makes a browser save a file instead of showing it.
func disposition(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	if plain == name {
		return `attachment; filename="` + name + `"`
	}
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}

// artifactWriter gives every piece of a download its time, and the errors of http.ServeContent the
// contract's body.
type artifactWriter struct {
	c      *call
	failed bool
}

func (w *artifactWriter) Header() http.Header { return w.c.w.Header() }

func (w *artifactWriter) WriteHeader(status int) {
	if status < 400 {
		_ = w.c.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails where there is no connection
		w.c.w.WriteHeader(status)
		return
	}
	w.failed = true
	for _, name := range []string{"ETag", "Content-Disposition", "Last-Modified", "Cache-Control", "Accept-Ranges", "Content-Encoding"} {
		w.Header().Del(name)
	}
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		w.c.refuse(status, "The range is malformed or outside the artifact")
	case http.StatusPreconditionFailed:
		w.c.refuse(status, "The artifact is not the one that was asked for")
	default:
		w.c.refuse(status, "Artifact error")
	}
}

func (w *artifactWriter) Write(b []byte) (int, error) {
	if w.failed {
		return len(b), nil // the text of http.ServeContent's own
	}
	_ = w.c.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := w.c.w.Write(b)
	if err != nil {
		return n, fmt.Errorf("send artifact: %w", err)
	}
	return n, nil
}
