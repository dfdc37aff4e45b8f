package rootfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Kinds of failure, for errors.Is.
var (
	// ErrInvalid: the layers are at fault. The text of the error that wraps it names the layer or
	// entry and never a host path.
	ErrInvalid = errors.New("invalid image")
	// ErrNoSpace: no room (or no inodes, or over quota) where roots are kept.
	ErrNoSpace = errors.New("no space left for images")
	// ErrConfig: this host cannot build a root safely; the text has the fix.
	ErrConfig = errors.New("host cannot build roots")
	// ErrTool: mkfs.erofs failed or wrote an image that is not what it was made from. The text
	// holds no host path.
	ErrTool = errors.New("mkfs.erofs failed")
	// ErrLeased: the root is in use.
	ErrLeased = errors.New("root is in use")
	// ErrNotFound: no root of that key.
	ErrNotFound = errors.New("no such root")
)

// kindError is an error of one of the kinds above. Its text is only its message.
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

// Message returns the text of an error of one of the kinds above, safe for the client who sent the
// image. The text holds no host path and nothing from wrapping errors. Message returns "" for other
// errors.
func Message(err error) string {
	var k *kindError
	if !errors.As(err, &k) {
		return ""
	}
	return k.msg
}

func invalidf(format string, args ...any) error {
	return &kindError{kind: ErrInvalid, msg: fmt.Sprintf(format, args...)}
}

// toolError reports a failure of mkfs.erofs. Its text includes err.
func (t tool) toolError(doing string, err error) error {
	return &kindError{kind: ErrTool, err: err, msg: fmt.Sprintf("%s mkfs.erofs %s: %v; install another version of erofs-utils, or none for directory roots",
		doing, t.version, err)}
}

func configf(format string, args ...any) error {
	return &kindError{kind: ErrConfig, msg: fmt.Sprintf(format, args...)}
}

// noSpace reports whether err means that the disk is full.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// withSpace gives err the kind [ErrNoSpace] if the disk is full.
func withSpace(doing string, err error) error {
	if err == nil {
		return nil
	}
	if noSpace(err) {
		return &kindError{kind: ErrNoSpace, msg: doing + ": no space left where images are kept; make room or remove images", err: err}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
