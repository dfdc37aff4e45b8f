package images

import (
	"cmp"
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

// refused is a *job.Refusal together with its cause. The client gets the refusal's message, the log
// gets both.
type refused struct {
	refusal *job.Refusal
	cause   error
}

func (e *refused) Error() string   { return e.refusal.Message + ": " + e.cause.Error() }
func (e *refused) Unwrap() []error { return []error{e.refusal, e.cause} }

// refuse returns the error of an import that fails for the reason. The message is for the client
// who sent the image: it names the file, blob or entry, says what to do, and holds no host path.
func refuse(reason job.Reason, message string, cause error) error {
	return &refused{&job.Refusal{Reason: reason, Message: message}, cause}
}

func invalidf(format string, args ...any) error { return job.Refuse(job.Invalid, format, args...) }

// classify returns err with a *job.Refusal in its chain if the client can do something about it.
// Any other error is tsubo's own failure and for the log only.
func classify(err error) error {
	var r *job.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &r):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, rootfs.ErrInvalid):
		// rootfs writes these texts for clients; the text of wrapping errors is not safe.
		return refuse(job.Invalid, cmp.Or(rootfs.Message(err), "the image is not valid"), err)
	case errors.Is(err, rootfs.ErrNoSpace), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return refuse(job.NoSpace, "no space left where images are kept; make room or remove images", err)
	case errors.Is(err, rootfs.ErrLeased):
		return refuse(job.Conflict, "image is used by a job; try again when it is done", err)
	}
	return err
}
