package pool

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestFailedBootNamesJobTypeAndImage checks that the log names the job type and image of a failed
// boot.
func TestFailedBootNamesJobTypeAndImage(t *testing.T) {
	var out bytes.Buffer
	p := &Pool{log: slog.New(slog.NewTextHandler(&out, nil)), ctx: t.Context()}
	p.failed(&idle{}, "job type t, image i", errors.New("no"))
	if !strings.Contains(out.String(), "job type t, image i") {
		t.Error(out.String())
	}
}
