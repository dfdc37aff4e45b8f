package daemon

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/keys"
)

// Each key of the configuration is either put in force by a reload or named in the log as needing a
// restart, never both and never neither.
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
		cfg.Access.Host = "192.0.2.1" // where allow_unauthenticated_network has an effect
		return cfg
	}
	d := &Daemon{keys: new(keys.File)}
	inForce := func(cfg *config.Config) any {
		rules := d.policy(cfg)
		rules.Auth.Find = nil // functions are not compared
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
				if f := v.Type().Field(i); f.IsExported() { // the others make job types
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

// change gives v another value.
func change(t *testing.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(time.Minute)) // of durations, too, some of which count in seconds
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	default:
		t.Errorf("%s: the test cannot change a %s", path, v.Kind())
	}
}
