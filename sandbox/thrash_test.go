package sandbox

import (
	"testing"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
)

func TestThrashFound(t *testing.T) {
	const memory = 64 * job.MiB
	full := memory + limits.Allowance - 2*job.MiB // the leaf's memory but for 2 MiB
	for name, c := range map[string]struct {
		own    int64
		reread []int64 // bytes since the previous check
		want   bool
	}{
		"reads all again, thrice":  {full, []int64{2 * job.MiB, 9 * job.MiB, 2 * job.MiB}, true},
		"twice":                    {full, []int64{2 * job.MiB, 2 * job.MiB}, false},
		"with a pause":             {full, []int64{2 * job.MiB, 2 * job.MiB, 0, 2 * job.MiB, 2 * job.MiB}, false},
		"less than all":            {full, []int64{job.MiB, job.MiB, job.MiB, job.MiB}, false},
		"within its own limit":     {memory, []int64{99 * job.MiB, 99 * job.MiB, 99 * job.MiB}, false},
		"nothing left, next to no": {memory + limits.Allowance, []int64{4096, 4096, 4096}, false},
		"nothing left":             {memory + limits.Allowance, []int64{job.MiB, job.MiB, job.MiB}, true},
	} {
		look, got, total := thrash{}, false, int64(0)
		for _, n := range c.reread {
			total += n
			got = look.found(limits.Stat{Own: c.own, Reread: total}, memory)
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
