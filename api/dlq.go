package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// deadStats is GET /dlq/stats (wire.md 1.11). The dead letter queue is the admins' (ruling 16).
func (s *Server) deadStats(c *call) {
	total, byType, err := s.opt.Store.DeadStats(c.Context())
	if err != nil {
		s.failed(c, "DLQ error", err)
		return
	}
	if byType == nil {
		byType = map[string]int{}
	}
	c.json(http.StatusOK, job.DeadStatsAnswer{Total: total, ByErrorType: byType})
}

// deadLetters is GET /dlq.
func (s *Server) deadLetters(c *call) {
	q := c.query()
	errorType := q.text("error_type")
	limit, offset := q.integer("limit", pageSize, 1, pageMost), q.integer("offset", 0, 0, maxOffset)
	if !q.done(c) {
		return
	}
	letters, more, err := s.opt.Store.DeadLetters(c.Context(), "", errorType, limit, offset)
	if err != nil {
		s.failed(c, "DLQ error", err)
		return
	}
	items := make([]job.DeadAnswer, len(letters))
	for i, d := range letters {
		items[i] = job.DeadAnswer{
			ID: d.ID, JobID: d.JobID, JobData: d.Summary, ErrorType: d.ErrorType, ErrorMessage: job.Sanitize(d.ErrorMessage), RetryCount: d.RetryCount,
			CreatedAt: job.StampOf(d.CreatedAt), ClientIP: orNull(d.ClientIP), CorrelationID: orNull(d.CorrelationID),
		}
		if !json.Valid(d.Summary) {
			items[i].JobData = json.RawMessage("{}")
		}
	}
	c.json(http.StatusOK, job.Page[job.DeadAnswer]{Items: items, Limit: limit, Offset: offset, HasMore: more, Count: len(items)})
}

// removeDead is DELETE /dlq/{entry_id}.
func (s *Server) removeDead(c *call) {
	id, err := strconv.ParseInt(c.params[0], 10, 64)
	if err != nil {
		echo, err := json.Marshal(c.params[0])
		if err != nil || len(echo) > 1024 {
			echo = json.RawMessage("null")
		}
		c.invalid([]strictjson.Problem{{
			Type: "int_parsing", Loc: []any{"path", "entry_id"}, Input: echo,
			Msg: "Input should be a valid integer, unable to parse string as an integer",
		}})
		return
	}
	switch err := s.opt.Store.RemoveDead(c.Context(), id); {
	case errors.Is(err, job.ErrNotFound):
		c.refuse(http.StatusNotFound, "DLQ entry not found")
	case err != nil:
		s.failed(c, "DLQ error", err)
	default:
		c.json(http.StatusOK, job.RemovedAnswer{Status: "removed", EntryID: id})
	}
}
