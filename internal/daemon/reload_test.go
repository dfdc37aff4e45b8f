package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
	"github.com/tsubo-run/tsubo/store"
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

// TestReloadEachKey changes each documented key. The key is applied with its value and nothing else
// changes, or the key is named as needing a restart and nothing is applied.
func TestReloadEachKey(t *testing.T) {
	const day = 24 * time.Hour
	dir := t.TempDir()
	hash := strings.Repeat("ab", 32)
	base := map[string]string{
		"data_dir": dir + "/data", "run_dir": dir + "/run", "socket": dir + "/socket", "daemon_memory": "4g",
		"memory_budget": "2g", "api_memory_bytes": "32m", "pool_enabled": "false", "server_host": "127.0.0.1",
		"server_port": "8000", "tls_cert": dir + "/cert", "tls_key": dir + "/key", "api_keys": "[sha256:" + hash + "]",
		"allow_unauthenticated_loopback": "true",
	}
	load := func(t *testing.T, changes ...map[string]string) *config.Config {
		t.Helper()
		all := maps.Clone(base)
		for _, c := range changes {
			maps.Copy(all, c)
		}
		var text strings.Builder
		for key, value := range all {
			if section, key, nested := strings.Cut(key, "."); nested {
				fmt.Fprintf(&text, "%s:\n  %s: %s\n", section, key, value)
			} else {
				fmt.Fprintf(&text, "%s: %s\n", section, value)
			}
		}
		file := filepath.Join(dir, "tsubo.yaml")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	type rules struct {
		api.Policy
		keep store.Retention
	}
	limits := func(r *rules) job.Limits { return r.Types["default"].Limits }
	restart := func(*rules) any { return nil }
	cases := map[string]struct {
		value string
		got   func(*rules) any // restart for a key that needs one
		want  any
		with  map[string]string // keys that are the same before and after
	}{
		"log_level":         {value: "DEBUG", got: restart},
		"security_mode":     {value: "permissive", got: restart},
		"data_dir":          {value: dir + "/other", got: restart},
		"run_dir":           {value: dir + "/other", got: restart},
		"socket":            {value: dir + "/other", got: restart},
		"socket_group":      {value: "root", got: restart},
		"runsc_path":        {value: "/other", got: restart},
		"runsc_sha256":      {value: hash, got: restart},
		"init_path":         {value: "/other", got: restart},
		"mkfs_erofs_path":   {value: "/other", got: restart},
		"cgroup_parent":     {value: "/other", got: restart},
		"max_workers":       {value: "5", got: restart},
		"max_queue_size":    {value: "5", got: restart},
		"memory_budget":     {value: "1g", got: restart},
		"daemon_memory":     {value: "5g", got: restart},
		"pool_enabled":      {value: "true", got: restart},
		"pool_min":          {value: "3", got: restart},
		"pool_max":          {value: "9", got: restart},
		"warm_max":          {value: "3", got: restart},
		"server_host":       {value: "localhost", got: restart},
		"server_port":       {value: "8001", got: restart},
		"tls_cert":          {value: "/other", got: restart},
		"tls_key":           {value: "/other", got: restart},
		"queue_ttl_seconds": {value: "60", got: restart},
		"retry_base_delay":  {value: "0.5", got: restart},

		"images.preload_dirs": {value: "[/other]", got: restart},
		"max_retry_attempts":  {value: "3", got: restart},

		"production_mode":         {"true", func(r *rules) any { return r.ProductionMode }, true, nil},
		"api_max_payload_bytes":   {"4m", func(r *rules) any { return r.MaxPayloadBytes }, int64(4 << 20), nil},
		"api_memory_bytes":        {"64m", func(r *rules) any { return r.HeldBytes }, int64(64 << 20), nil},
		"max_code_bytes":          {"2048", func(r *rules) any { return r.MaxCodeBytes }, int64(2048), nil},
		"max_input_bytes":         {"2048", func(r *rules) any { return r.MaxInputBytes }, int64(2048), nil},
		"max_timeout":             {"100", func(r *rules) any { return r.MaxTimeout }, 100 * time.Second, nil},
		"default_timeout":         {"20", func(r *rules) any { return r.DefaultTimeout }, 20 * time.Second, nil},
		"max_startup_timeout":     {"200", func(r *rules) any { return r.MaxStartupTimeout }, 200 * time.Second, nil},
		"default_startup_timeout": {"20", func(r *rules) any { return r.DefaultStartupTimeout }, 20 * time.Second, nil},
		"admin_uids":              {"[7]", func(r *rules) any { return r.AdminUIDs }, []uint32{7}, nil},
		"allowed_uids":            {"[7]", func(r *rules) any { return r.AllowedUIDs }, []uint32{7}, nil},

		"images.max_archive_bytes": {"8g", func(r *rules) any { return r.MaxArchiveBytes }, int64(8 << 30), nil},

		"max_stdout_bytes":   {"2048", func(r *rules) any { return limits(r).Stdout }, int64(2048), nil},
		"max_stderr_bytes":   {"2048", func(r *rules) any { return limits(r).Stderr }, int64(2048), nil},
		"max_artifact_bytes": {"2048", func(r *rules) any { return limits(r).Artifact }, int64(2048), nil},
		"max_total_artifacts_bytes": {"20m", func(r *rules) any { return limits(r).ArtifactsTotal }, int64(20 << 20),
			nil},
		"container_limits.nofile_soft": {"100", func(r *rules) any { return limits(r).NoFile.Soft }, uint64(100), nil},
		"container_limits.nofile_hard": {"300", func(r *rules) any { return limits(r).NoFile.Hard }, uint64(300), nil},
		"container_limits.nproc_soft":  {"40", func(r *rules) any { return limits(r).NProc.Soft }, uint64(40), nil},
		"container_limits.nproc_hard":  {"60", func(r *rules) any { return limits(r).NProc.Hard }, uint64(60), nil},
		"container_limits.fsize":       {"50m", func(r *rules) any { return limits(r).FSize }, uint64(50 << 20), nil},
		"container_limits.tmpfs_size":  {"50m", func(r *rules) any { return limits(r).Tmp }, int64(50 << 20), nil},
		"container_limits.output_size": {"50m", func(r *rules) any { return limits(r).Output }, int64(50 << 20), nil},
		"container_limits.pids_limit":  {"70", func(r *rules) any { return limits(r).PIDs }, 70, nil},

		"api_auth_enabled": {"true", func(r *rules) any { return r.Auth.RequireKey }, true, nil},
		"api_auth_header":  {"X-Other", func(r *rules) any { return r.Auth.Header }, "X-Other", nil},
		"api_keys":         {"[]", func(r *rules) any { return r.Auth.Keys }, []api.Key(nil), nil},
		"allow_unauthenticated_loopback": {"admin", func(r *rules) any { return r.Auth.LoopbackRole },
			api.LoopbackAdmin, nil},
		"allow_unauthenticated_network_access": {"true", func(r *rules) any { return r.Auth.LoopbackRole },
			api.OpenToAll, map[string]string{"server_host": "192.0.2.1"}},
		"api_rate_limit_enabled":        {"false", func(r *rules) any { return r.Auth.Requests }, 0, nil},
		"api_rate_limit_requests":       {"7", func(r *rules) any { return r.Auth.Requests }, 7, nil},
		"api_rate_limit_window_seconds": {"7", func(r *rules) any { return r.Auth.WindowSeconds }, 7, nil},
		"api_rate_limit_unix_requests":  {"7", func(r *rules) any { return r.Auth.UnixRequests }, 7, nil},

		"execution_record_ttl_days": {"7", func(r *rules) any { return r.keep.Records }, 7 * day, nil},
		"dlq_ttl_days":              {"7", func(r *rules) any { return r.keep.DeadLetters }, 7 * day, nil},
		"caller_quota_bytes":        {"1g", func(r *rules) any { return r.keep.CallerBytes }, int64(1 << 30), nil},
		"store_max_bytes":           {"50g", func(r *rules) any { return r.keep.TotalBytes }, int64(50 << 30), nil},

		"job_types": {"[{name: new, image: other}]", func(r *rules) any { return r.Types["new"].Image }, "other", nil},
	}
	for key, c := range cases {
		t.Run(key, func(t *testing.T) {
			d := &Daemon{cfg: load(t, c.with), keys: new(keys.File), log: quiet}
			now := func() *rules {
				r := &rules{*d.rules.Load(), *d.retention.Load()}
				r.Auth.Find = nil // functions cannot be compared
				return r
			}
			if err := d.setRules(d.cfg); err != nil {
				t.Fatal(err)
			}
			before := now()
			changed := load(t, c.with, map[string]string{key: c.value})
			if err := d.Reload(changed); err != nil {
				t.Fatal(err)
			}
			later := needRestart(d.cfg, changed)
			if c.want == nil {
				if !slices.Equal(later, []string{key}) || !reflect.DeepEqual(before, now()) {
					t.Errorf("named as needing a restart: %q; before %+v, after %+v", later, before, now())
				}
				return
			}
			if got := c.got(now()); len(later) > 0 || !reflect.DeepEqual(got, c.want) {
				t.Errorf("applied %v, want %v; named as needing a restart: %q", got, c.want, later)
			}
			if reflect.DeepEqual(c.got(before), c.want) {
				t.Errorf("%v was the value before", c.want)
			}
		})
	}
	doc, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` ").FindAllSubmatch(doc, -1)
	for _, m := range documented {
		key := string(m[1])
		if _, tested := cases[key]; !tested && key != "database_url" { // sqlite is its only value
			t.Errorf("key %s: does a reload apply it?", key)
		}
	}
	if len(documented) < len(cases) {
		t.Errorf("%d keys of %d found in docs/config.md", len(documented), len(cases))
	}
}

// TestReloadNamesRestart: the log has the keys that a reload cannot apply.
func TestReloadNamesRestart(t *testing.T) {
	d := bare(t, configured(t, ""))
	var log strings.Builder
	d.log = slog.New(slog.NewTextHandler(&log, nil))
	changed := *d.cfg
	changed.MaxWorkers++
	if err := d.Reload(&changed); err != nil || !strings.Contains(log.String(), "keys=[max_workers]") {
		t.Errorf("error %v, log %q", err, log.String())
	}
}

// TestReloadChecksOpenListener: a configuration for another address does not admit callers without
// a key to the address that is open.
func TestReloadChecksOpenListener(t *testing.T) {
	const open = "api_auth_enabled: true\ntls_cert: /cert\ntls_key: /key\napi_keys: [sha256:" +
		"abababababababababababababababababababababababababababababababab]\nserver_host: "
	d := bare(t, configured(t, open+"192.0.2.1\n"))
	before := d.rules.Load()
	for name, lines := range map[string]string{
		"loopback": "server_host: 127.0.0.1\nallow_unauthenticated_loopback: admin\n",
		"no TCP":   "allow_unauthenticated_loopback: admin\n",
	} {
		if err := d.Reload(configured(t, lines)); err == nil || !strings.Contains(err.Error(), "restart") {
			t.Errorf("%s: error %v", name, err)
		}
		if d.rules.Load() != before {
			t.Errorf("%s: the rules have changed", name)
		}
	}
	if err := d.Reload(configured(t, open+"127.0.0.1\nmax_timeout: 100\n")); err != nil {
		t.Errorf("with a key: error %v", err)
	}
	if d.rules.Load().MaxTimeout != 100*time.Second {
		t.Error("with a key: not reloaded")
	}
	local := bare(t, configured(t, "server_host: 127.0.0.1\nallow_unauthenticated_loopback: true\n"))
	if err := local.Reload(configured(t, "server_host: 192.0.2.1\nallow_unauthenticated_loopback: true\n"+
		"allow_unauthenticated_network_access: true\n")); err != nil {
		t.Fatal(err)
	}
	if role := local.rules.Load().Auth.LoopbackRole; role != api.LoopbackUser {
		t.Errorf("the listener on loopback admits role %q, want %q", role, api.LoopbackUser)
	}
}

// TestReloadReachesServer: requests after a reload see its rules.
func TestReloadReachesServer(t *testing.T) {
	cfg := configured(t, "")
	d := bare(t, cfg)
	if err := errors.Join(api.MakeDir(cfg.RunDir, ""), d.startJobs(t.Context(), cfg, slow{}),
		d.serve(cfg, nil)); err != nil {
		t.Fatal(err)
	}
	d.ready.Store(true)
	c := client.New(cfg.Socket)
	defer c.Close()
	for _, want := range []bool{true, false} {
		changed := *cfg
		changed.ProductionMode = want
		if err := d.Reload(&changed); err != nil {
			t.Fatal(err)
		}
		if h, err := c.Health(t.Context()); err != nil || h.ProductionMode != want {
			t.Errorf("error %v, health %+v, want production mode %t", err, h, want)
		}
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
		restart := needRestart(load(), cfg)
		reloaded := !reflect.DeepEqual(inForce(cfg), inForce(load()))
		if len(restart) > 1 || (len(restart) == 1) == reloaded {
			t.Errorf("%s: reloaded %t, named as needing a restart %q", path, reloaded, restart)
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
