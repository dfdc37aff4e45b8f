package sandbox

import (
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Between the hand-over and the answer there is only one socket. A Run that used runsc, a network
// namespace or the bundle directory would fail here.
func TestRunNeedsNothingOfTheHost(t *testing.T) {
	for name, by := range tiers {
		t.Run(name, func(t *testing.T) {
			h, w := realHost(t)
			s := boot(t, by, h, pythonShape(t, w))
			s.host = &Host{Log: h.Log}
			result, err := s.Run(t.Context(), pythonSpec("print(1)"), time.Now(), nil)
			s.host = h
			if err != nil || result.Status != job.Succeeded || result.Stdout != "1\n" {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}
