package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/rootfs"
)

// Kinds of failure, for errors.Is; in brackets the HTTP status that the API answers with.
var (
	ErrInvalid  = errors.New("invalid image")       // the image or its name is at fault (422)
	ErrTooLarge = errors.New("image is too large")  // more bytes than may be uploaded (413)
	ErrNotFound = errors.New("no such image")       // (404)
	ErrConflict = errors.New("image is in use")     // (409)
	ErrNoSpace  = errors.New("no space for images") // (507)
)

// Error separates the client's text from the log's. Message is for the client who sent the image
// and holds no host path. Error adds the cause for the log.
type Error struct {
	Kind    error  // one of the above, or nil: tsubo's own failure (500)
	Message string // names the file, blob or entry, and what to do
	Cause   error  // may be nil
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func invalidf(format string, args ...any) error {
	return &Error{Kind: ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

// classify gives every error that leaves this package a kind and a message that is safe for the
// client.
func classify(err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, rootfs.ErrInvalid):
		// rootfs writes these texts for clients; the text of wrapping errors is not safe.
		return &Error{Kind: ErrInvalid, Message: cmp.Or(rootfs.Message(err), "the image is not valid"), Cause: err}
	case errors.Is(err, rootfs.ErrNoSpace), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &Error{Kind: ErrNoSpace, Message: "no space left where images are kept; make room or remove images", Cause: err}
	case errors.Is(err, rootfs.ErrLeased):
		return &Error{Kind: ErrConflict, Message: "image is used by a job; try again when it is done", Cause: err}
	case errors.Is(err, rootfs.ErrTool), errors.Is(err, rootfs.ErrConfig):
		return &Error{Message: cmp.Or(rootfs.Message(err), "the image's root could not be built; the daemon's log says why"), Cause: err}
	}
	return &Error{Message: "the image could not be stored; the daemon's log says why", Cause: err}
}
