package api

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxIdentities bounds how many identities are counted at once. Beyond it, with all of them in
// their windows, a new one waits: memory is bounded, and who was there is not pushed out.
const maxIdentities = 10000

// rateLimits counts each kind of identity in a table of its own, so that a flood of addresses or
// uids takes no room from keys.
type rateLimits struct{ keys, uids, addresses windows }

// windows counts requests in fixed windows, one for each identity. The zero value is ready.
type windows struct {
	mu    sync.Mutex
	by    map[string]*window
	swept time.Time
}

type window struct {
	ends time.Time
	n    int
}

// take counts one request of an identity that may make most of them in a window of that length. ok
// is false for one too many; wait is then the time until the window ends.
func (w *windows) take(identity string, most int, length time.Duration, now time.Time) (wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[string]*window{}
	}
	at, there := w.by[identity]
	if !there || !now.Before(at.ends) {
		if !there && len(w.by) >= maxIdentities && !w.sweep(now) {
			return length, false
		}
		at = &window{ends: now.Add(length)}
		w.by[identity] = at
	}
	if at.n >= most {
		return at.ends.Sub(now), false
	}
	at.n++
	return 0, true
}

// sweep forgets windows that have ended, at most once a second, and reports whether there is room
// now.
func (w *windows) sweep(now time.Time) bool {
	if now.Sub(w.swept) >= time.Second {
		w.swept = now
		for identity, at := range w.by {
			if !now.Before(at.ends) {
				delete(w.by, identity)
			}
		}
	}
	return len(w.by) < maxIdentities
}

// rateLimit refuses a request of an identity that has asked too often. Exempt paths are not
// counted.
func (s *Server) rateLimit(c *call, table *windows, identity string, most int) bool {
	if most <= 0 || exempt(c.URL.EscapedPath()) {
		return true
	}
	length := time.Duration(c.policy.Auth.WindowSeconds) * time.Second
	wait, ok := table.take(identity, most, length, time.Now())
	if ok {
		return true
	}
	c.w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	c.leaveBody()
	c.refuse(http.StatusTooManyRequests, tooMany)
	return false
}
