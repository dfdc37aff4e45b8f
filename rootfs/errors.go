package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kinds of failure, for errors.Is.
var (
	// ErrInvalid: the layers are at fault. The text of the error that wraps it names the layer or entry and never a host path.
	ErrInvalid = errors.New("invalid image")
	// ErrNoSpace: no room (or no inodes, or over quota) where roots are kept.
	ErrNoSpace = errors.New("no space left for images")
	// ErrConfig: this host cannot build a root safely; the text says what to change.
	ErrConfig = errors.New("host cannot build roots")
	// ErrLeased: the root is in use.
	ErrLeased = errors.New("root is in use")
	// ErrNotFound: no root of that key.
	ErrNotFound = errors.New("no such root")
)

// kindError is an error of one of the kinds above whose text is only its message.
type kindError struct {
	kind error
	msg  string
	err  error // the rest, may be nil
}

func (e *kindError) Error() string { return e.msg }

func (e *kindError) Unwrap() []error {
	if e.err == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.err}
}

// Message is the text of err that is made for whoever brought the image, without what wraps it on the way: it holds no host path.
// Errors of another kind have none ("").
func Message(err error) string {
	if !errors.Is(err, ErrInvalid) {
		return ""
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if k, ok := e.(*kindError); ok && k.kind == ErrInvalid { //nolint:errorlint // the wrapped one exactly
			return k.msg
		}
	}
	return ErrInvalid.Error()
}

func invalidf(format string, args ...any) error {
	return &kindError{kind: ErrInvalid, msg: fmt.Sprintf(format, args...)}
}

func configf(format string, args ...any) error {
	return &kindError{kind: ErrConfig, msg: fmt.Sprintf(format, args...)}
}

// noSpace reports whether err says that the disk is full.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// withSpace gives err the kind ErrNoSpace when it says that the disk is full.
func withSpace(doing string, err error) error {
	if err == nil {
		return nil
	}
	if noSpace(err) {
		return &kindError{kind: ErrNoSpace, msg: doing + ": no space left where images are kept; make room or remove images", err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
