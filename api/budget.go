package api

import (
	"net/http"
	"sync"

	"github.com/tsubo-run/tsubo/job"
)

// DefaultHeldBytes is Policy.HeldBytes when that is 0.
const DefaultHeldBytes = 16 * job.MiB

// freeBytes of an answer are not counted: the socket's buffer takes them.
const freeBytes = 16 << 10

// budget bounds bytes that requests hold, in all and for each caller. The zero value is ready. It
// is safe for concurrent use.
type budget struct {
	mu  sync.Mutex
	all int64
	by  map[string]int64
}

// take counts n bytes of a caller and reports whether both fit: total in all, half of it for one
// caller.
func (b *budget) take(caller string, n, total int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all+n > total || b.by[caller]+n > total/2 {
		return false
	}
	if b.by == nil {
		b.by = map[string]int64{}
	}
	b.all += n
	b.by[caller] += n
	return true
}

// give takes n bytes off the count.
func (b *budget) give(caller string, n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all -= n
	if b.by[caller] -= n; b.by[caller] == 0 {
		delete(b.by, caller)
	}
}

// hold counts n bytes that the request keeps in memory until it has been answered. It reports
// whether there is room.
func (s *Server) hold(c *call, n int64) bool {
	total := c.policy.HeldBytes
	if total == 0 {
		total = DefaultHeldBytes
	}
	if !s.held.take(c.caller.Name, n, max(total, 4*c.policy.MaxPayloadBytes)) { // one caller's body fits
		return false
	}
	c.held += n
	return true
}

// full answers a request for which there is no room.
func (c *call) full() {
	c.leaveBody()
	c.w.Header().Set("Retry-After", "1")
	c.refuse(http.StatusServiceUnavailable, fullDetail)
}

const fullDetail = "The requests and answers under way hold all the memory that they may (api_memory_bytes): try again later"
