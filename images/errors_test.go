package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/rootfs"
)

// Every error that leaves the package has a kind that the API can answer with, and a message
// without a host path.
func TestClassify(t *testing.T) {
	path := func(errno error) error {
		return &fs.PathError{Op: "write", Path: "/var/lib/tsubo/images/x", Err: errno}
	}
	tests := []struct {
		err  error
		kind error // nil: tsubo's own failure
	}{
		{path(unix.ENOSPC), ErrNoSpace},
		{path(unix.EDQUOT), ErrNoSpace},
		{fmt.Errorf("build: %w", rootfs.ErrNoSpace), ErrNoSpace},
		{fmt.Errorf("remove: %w", rootfs.ErrLeased), ErrConflict},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrInvalid), ErrInvalid},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrConfig), nil},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrTool), nil},
		{path(unix.EIO), nil},
		{invalidf("x"), ErrInvalid},
	}
	for _, tt := range tests {
		err := classify(tt.err)
		var e *Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.Message == "" || strings.Contains(e.Message, "/var/lib") {
			t.Errorf("%v: kind %v, message %q", tt.err, e.Kind, e.Message)
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v is not in %v", tt.err, err)
		}
	}
	if err := classify(context.Canceled); !errors.Is(err, context.Canceled) || classify(nil) != nil {
		t.Errorf("cancelled: %v", err)
	}
}
