package sandbox

import (
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

func TestSilent(t *testing.T) {
	for _, c := range []struct {
		status job.Status
		killed bool // by the kernel, for its memory
		want   bool
	}{
		{job.OOM, true, false},
		{job.OOM, false, true},
		{job.Timeout, false, true},
		{job.Succeeded, false, false}, // it survived: an answer, and a wrong one
		{job.Failed, false, false},
	} {
		if got := silent(c.status, c.killed); got != c.want {
			t.Errorf("%s, killed %v: %v", c.status, c.killed, got)
		}
	}
}
