package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// check is GET /check: whether everything that is kept is whole. It reads all of it.
func (s *Server) check(c *call) {
	answer := job.CheckAnswer{Problems: []string{}}
	if err := s.opt.Store.Check(c.Context()); err != nil {
		if c.Context().Err() != nil {
			s.failed(c, "Check error", err)
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			answer.Problems = append(answer.Problems, job.Sanitize(line))
		}
	}
	answer.OK = len(answer.Problems) == 0
	c.json(http.StatusOK, answer)
}

// backup is GET /backup: a tar stream of the store as it is at one moment, while the daemon goes
// on. A stream that breaks ends without its last chunk, which no client takes for a whole one.
func (s *Server) backup(c *call) {
	h := c.w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", `attachment; filename="tsubo-backup.tar"`)
	h.Set("Cache-Control", "no-store")
	if err := s.opt.Store.WriteBackup(c.Context(), patient{c}); err != nil {
		if !c.w.begun {
			h.Del("Content-Disposition")
			s.failed(c, "Backup error", err)
			return
		}
		s.log.Error("backup broke off", "correlation_id", c.correlation, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// patient gives a reader writeTimeout for each piece, however long the whole takes.
type patient struct{ c *call }

// patientPiece is how much a reader must take within writeTimeout.
const patientPiece = 64 << 10

func (p patient) Write(b []byte) (n int, err error) {
	for first := true; first || len(b) > 0 && err == nil; first = false {
		piece := b[:min(len(b), patientPiece)]
		_ = p.c.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails where there is no connection
		var m int
		m, err = p.c.w.Write(piece)
		n, b = n+m, b[len(piece):]
	}
	return n, err
}
