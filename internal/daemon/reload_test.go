package daemon

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
)

func TestReload(t *testing.T) {
	d := bare(t, configured(t, "max_workers: 3\n"))
	if got := d.rules.Load().MaxTimeout; got != 300*time.Second {
		t.Fatal(got)
	}
	good := configured(t, "max_workers: 5\nmax_timeout: 100\nexecution_record_ttl_days: 7\n"+
		"job_types:\n  - name: again\n    retry_on_interrupt: true\n")
	if err := d.Reload(good); err != nil {
		t.Fatal(err)
	}
	if r := d.rules.Load(); r.MaxTimeout != 100*time.Second || !r.Types["again"].RetryOnInterrupt ||
		d.retention.Load().Records != 7*24*time.Hour {
		t.Errorf("rules %+v, retention %+v", r.Policy, d.retention.Load())
	}
	before := d.rules.Load()
	d.cfg.MemoryBudget = 600 * job.MiB // the daemon started with a smaller budget
	for name, lines := range map[string]string{
		"a type that does not fit the budget of the running daemon": "job_types:\n" +
			"  - name: big\n    memory_limit: 1g\n",
		"access without a key": "server_host: 0.0.0.0\n",
	} {
		if err := d.Reload(configured(t, lines)); err == nil {
			t.Errorf("%s: reloaded", name)
		}
	}
	if d.rules.Load() != before {
		t.Error("a reload that failed has changed something")
	}
}

func TestNeedRestart(t *testing.T) {
	old := configured(t, "")
	same := *old
	if got := needRestart(old, &same); len(got) != 0 {
		t.Errorf("nothing changed, and %v", got)
	}
	changed := *old
	changed.MaxWorkers, changed.Keeping.QueueTTL, changed.Access.Port, changed.MaxTimeout = 9, time.Hour, 1, time.Second
	if got := needRestart(old, &changed); !slices.Equal(got,
		[]string{"max_workers", "queue_ttl_seconds", "server_port"}) {
		t.Error(got)
	}
}

// Each configuration key is either applied by a reload or logged as needing a restart, never both
// and never neither.
func TestEachKeyIsReloadedOrNeedsARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tsubod.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	load := func() *config.Config {
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Access.Host = "192.0.2.1" // makes allow_unauthenticated_network effective
		return cfg
	}
	d := &Daemon{keys: new(keys.File)}
	inForce := func(cfg *config.Config) any {
		rules := d.policy(cfg)
		rules.Auth.Find = nil // functions cannot be compared
		if err := d.setRules(cfg); err != nil {
			t.Fatal(err)
		}
		return []any{rules, *d.retention.Load()}
	}
	ignored := map[string]string{
		".File":     "is the place of the configuration",
		".Warnings": "are logged at each reload",
	}
	var check func(path string, at func(*config.Config) reflect.Value)
	check = func(path string, at func(*config.Config) reflect.Value) {
		v := at(load())
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() { // unexported fields make up job types
					check(path+"."+f.Name, func(c *config.Config) reflect.Value { return at(c).Field(i) })
				}
			}
			return
		}
		if ignored[path] != "" {
			return
		}
		cfg := load()
		change(t, path, at(cfg))
		restart := len(needRestart(load(), cfg)) > 0
		reloaded := !reflect.DeepEqual(inForce(cfg), inForce(load()))
		if restart == reloaded {
			t.Errorf("%s: reloaded %t, named as needing a restart %t", path, reloaded, restart)
		}
	}
	check("", func(c *config.Config) reflect.Value { return reflect.ValueOf(c).Elem() })
}

// change sets v to a different value.
func change(t *testing.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(time.Minute)) // works for durations, too, some of which count in seconds
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	default:
		t.Errorf("%s: the test cannot change a %s", path, v.Kind())
	}
}
