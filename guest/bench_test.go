package guest_test

import (
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/tests/guesttest"
	"github.com/tsubo-run/tsubo/tests/need"
)

// BenchmarkJob boots a sandbox, runs `pass` and reports medians: boot until ready, and hand-over
// until the code's exit. It measures the bare interpreter at the same time for comparison.
func BenchmarkJob(b *testing.B) {
	for name, o := range map[string]func() guesttest.Options{
		"native": func() guesttest.Options { need.Root(b); return guesttest.Options{} },
		"runsc":  func() guesttest.Options { return guesttest.Options{Runsc: need.Runsc(b)} },
	} {
		b.Run(name, func(b *testing.B) {
			o := o()
			var boot, job, bare []time.Duration
			for range b.N {
				s := guesttest.Boot(b, o)
				boot = append(boot, s.Booted)
				time.Sleep(50 * time.Millisecond) // let the waiting sandbox become idle
				r := s.Run(guesttest.Job{Code: "pass"})
				if r.Status() != 0 || r.Done == nil {
					b.Fatalf("%+v", r)
				}
				job = append(job, r.Took)
				s.Close()
				start := time.Now()
				if err := exec.Command("/usr/bin/python3", "-S", "-c", "pass").Run(); err != nil {
					b.Fatal(err)
				}
				bare = append(bare, time.Since(start))
			}
			for what, ds := range map[string][]time.Duration{
				"boot-p50-ms": boot, "job-p50-ms": job, "python3-S-p50-ms": bare,
			} {
				slices.Sort(ds)
				b.ReportMetric(float64(ds[len(ds)/2].Microseconds())/1000, what)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
