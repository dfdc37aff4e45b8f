package api

import (
	"reflect"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// Each bound of a job type is in its answer: another value gives another answer.
func TestJobTypeShowsEveryBound(t *testing.T) {
	base := job.Type{
		Name: "t", Image: "python", Language: job.Python,
		Limits: job.Limits{PIDs: 100, NProc: job.Rlimit{Soft: 50, Hard: 50}, NoFile: job.Rlimit{Soft: 256, Hard: 256}, Memory: 64 * job.MiB, CPU: 1},
	}
	policy := testPolicy()
	want := typeAnswer(&policy, base, nil)
	differs := func(name string, p *Policy, other job.Type) {
		if reflect.DeepEqual(typeAnswer(p, other, nil), want) {
			t.Errorf("%s: another value does not change the answer", name)
		}
	}
	limits := reflect.TypeFor[job.Limits]()
	for i := range limits.NumField() {
		other := base
		switch f := reflect.ValueOf(&other.Limits).Elem().Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(f.Int()/4 + 7)
		case reflect.Uint64:
			f.SetUint(7)
		case reflect.Float64:
			f.SetFloat(7)
		default:
			f.Set(reflect.ValueOf(job.Rlimit{Soft: 7, Hard: 7}))
		}
		differs(limits.Field(i).Name, &policy, other)
	}
	for name, change := range map[string]func(*Policy, *job.Type){
		"max memory":          func(_ *Policy, t *job.Type) { t.MaxMemory = 128 * job.MiB },
		"max cpu":             func(_ *Policy, t *job.Type) { t.MaxCPU = 2 },
		"startup timeout":     func(_ *Policy, t *job.Type) { t.StartupTimeout += 1e9 },
		"language":            func(_ *Policy, t *job.Type) { t.Language = job.Node },
		"command":             func(_ *Policy, t *job.Type) { t.Command = []string{"x"} },
		"workdir":             func(_ *Policy, t *job.Type) { t.Workdir = "/srv" },
		"image":               func(_ *Policy, t *job.Type) { t.Image = "other" },
		"max timeout":         func(p *Policy, _ *job.Type) { p.MaxTimeout += 1e9 },
		"max startup timeout": func(p *Policy, _ *job.Type) { p.MaxStartupTimeout += 1e9 },
		"code":                func(p *Policy, _ *job.Type) { p.MaxCodeBytes++ },
		"input":               func(p *Policy, _ *job.Type) { p.MaxInputBytes++ },
		"payload":             func(p *Policy, _ *job.Type) { p.MaxPayloadBytes++ },
	} {
		p, other := policy, base
		change(&p, &other)
		differs(name, &p, other)
	}
}
