package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

// Every error that a client can mend leaves the package as a refusal without a host path. Any other
// error is no refusal, so that its text stays in the log.
func TestClassify(t *testing.T) {
	path := func(errno error) error {
		return &fs.PathError{Op: "write", Path: "/var/lib/tsubo/images/x", Err: errno}
	}
	tests := []struct {
		err    error
		reason job.Reason // "" for tsubo's own failure
	}{
		{path(unix.ENOSPC), job.NoSpace},
		{path(unix.EDQUOT), job.NoSpace},
		{fmt.Errorf("build: %w", rootfs.ErrNoSpace), job.NoSpace},
		{fmt.Errorf("remove: %w", rootfs.ErrLeased), job.Conflict},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrInvalid), job.Invalid},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrConfig), ""},
		{fmt.Errorf("build /var/lib/tsubo: %w", rootfs.ErrTool), ""},
		{path(unix.EIO), ""},
		{invalidf("x"), job.Invalid},
	}
	for _, tt := range tests {
		err := classify(tt.err)
		if got := job.ReasonOf(err); got != tt.reason {
			t.Errorf("%v: reason %q, want %q", tt.err, got, tt.reason)
		}
		var r *job.Refusal
		if errors.As(err, &r) && (r.Message == "" || strings.Contains(r.Message, "/var/lib")) {
			t.Errorf("%v: message %q", tt.err, r.Message)
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v is not in %v", tt.err, err)
		}
	}
	if err := classify(context.Canceled); !errors.Is(err, context.Canceled) || classify(nil) != nil {
		t.Errorf("cancelled: %v", err)
	}
}
