package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// report is the output of a canary in a sound sandbox, without the system calls.
func report(l job.Limits) string {
	status := "Uid 1000,1000,1000,1000\nGid 1000,1000,1000,1000\nGroups \nCapInh 0\nCapPrm 0\nCapEff 0\nCapBnd " +
		"0\nCapAmb 0\nNoNewPrivs 1\nSeccomp 2"
	status = strings.ReplaceAll(status, " 0\n", " 0000000000000000\n")
	return "status " + strings.ReplaceAll(status, "\n", "\nstatus ") + fmt.Sprintf(
		"\nwrite 30\nconnect 101\niface lo\nnproc %d\nready\n", l.Tasks().Hard)
}

func TestVerdict(t *testing.T) {
	l := job.Limits{PIDs: 20, NProc: job.Rlimit{Soft: 20, Hard: 20}}
	good := report(l)
	half, _, _ := strings.Cut(good, "iface")
	writes := strings.Replace(good, "write 30", "write 0", 1)
	held := job.Enforced{Memory: true, Swap: true, CPU: true, PIDs: true, Devices: true}
	wrong := errors.New("a *CanaryError")
	for name, c := range map[string]struct {
		status   job.Status
		killed   bool // OOM-killed by the kernel
		stdout   string
		enforced job.Enforced
		leaves   bool
		want     error
	}{
		"holds":                              {job.OOM, true, good, held, true, nil},
		"holds, without leaves":              {job.Succeeded, false, good, job.Enforced{}, false, nil},
		"survived":                           {job.Succeeded, false, good + "survived\n", held, true, wrong},
		"not what is in force":               {job.OOM, true, good, job.Enforced{}, true, wrong},
		"writes":                             {job.OOM, true, writes, held, true, wrong},
		"stops in its report":                {job.OOM, true, half, held, true, wrong},
		"ended in its report":                {job.Timeout, false, half, held, true, ErrSilent},
		"ended as it takes its memory":       {job.Timeout, false, good, held, true, ErrSilent},
		"thrashes":                           {job.OOM, false, good, held, true, ErrSilent},
		"ended as it takes its memory, bad":  {job.Timeout, false, writes, held, true, wrong},
		"ended in its report without leaves": {job.Timeout, false, half, job.Enforced{}, false, ErrSilent},
	} {
		err := verdict(&job.Result{Status: c.status, Stdout: c.stdout, Enforced: c.enforced}, c.killed, nil, l,
			c.leaves)
		switch answer := (*CanaryError)(nil); {
		case c.want == wrong && !errors.As(err, &answer), c.want != wrong && !errors.Is(err, c.want):
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
