package job

import (
	"errors"
	"fmt"
	"time"
)

// Refusal is why a request was not carried out, in words for the caller. Nothing happened, and
// nothing is left behind. Every other error that reaches the API is internal, and only the log sees
// its text.
type Refusal struct {
	Reason  Reason
	Message string // a whole sentence, safe to show
	// RetryAfter is when trying again makes sense; 0 for reasons that time does not cure.
	RetryAfter time.Duration
}

// Reason is the kind of a refusal, for programs.
type Reason string

// The reasons, each with the HTTP status that the API gives it.
const (
	QueueFull Reason = "queue_full" // 503: the bounded queue has no place
	Busy      Reason = "busy"       // 503: no slot came free while a synchronous caller waited
	Unready   Reason = "unready"    // 503: the daemon starts, stops, or cannot launch
	TooLarge  Reason = "too_large"  // 422: more memory than the whole budget
	NotFound  Reason = "not_found"  // 404
	Conflict  Reason = "conflict"   // 409: the name or state is taken by something else
	Invalid   Reason = "invalid"    // 422: what was sent is not what it should be
	TooBig    Reason = "too_big"    // 413: an upload over its cap
	NoSpace   Reason = "no_space"   // 507: the state directory is full
)

// Refuse makes a Refusal. The arguments must be safe to show.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// ReasonOf returns the reason of the Refusal in err's chain, or "" if there is none.
func ReasonOf(err error) Reason {
	var r *Refusal
	if !errors.As(err, &r) {
		return ""
	}
	return r.Reason
}

func (r *Refusal) Error() string { return r.Message }
