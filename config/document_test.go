package config

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/tests/need"
)

var update = flag.Bool("update", false, "write docs/config.md")

// meaning is a key's description in docs/config.md and an example.
type meaning struct{ text, example string }

// meanings has an entry for every key that the configuration accepts.
var meanings = map[string]meaning{
	"production_mode": {"shown in GET /health; changes nothing", "true"},
	"log_level":       {"least level that is logged", "DEBUG"},
	"security_mode": {"strict refuses to serve where a limit cannot be enforced; permissive serves and warns",
		"permissive"},
	"data_dir": {"records, artifacts, images and keys; root's alone, as are the directories above",
		"/srv/tsubo"},
	"run_dir": {"sockets and run-time state, gone with the host's next start",
		"/run/tsubo"},
	"socket":       {"path of the Unix socket", "/run/tsubo/tsubo.sock"},
	"socket_group": {"group whose members may connect", "staff"},
	"runsc_path": {"runsc; the first that exists of four usual places by default",
		"/usr/lib/tsubo/runsc"},
	"runsc_sha256": {"digest that runsc must have; empty takes any that passes the other checks", "64 hex digits"},
	"init_path": {"tsubo-init; the sentry is looked for in gvisor-bin beside it",
		"/usr/lib/tsubo/tsubo-init"},
	"mkfs_erofs_path":       {"mkfs.erofs; empty looks on PATH", "/usr/bin/mkfs.erofs"},
	"cgroup_parent":         {"cgroup that tsubod may have for itself; empty is its own", "/tsubo"},
	"max_workers":           {"jobs that run at once", "8"},
	"max_queue_size":        {"jobs that wait", "1000"},
	"memory_budget":         {"memory that all sandboxes may hold together", "80%"},
	"api_max_payload_bytes": {"a request body, images excepted", "8m"},
	"api_memory_bytes": {"bodies and answers in memory, of all requests together; at least four times " +
		"api_max_payload_bytes", "64m"},
	"max_code_bytes":               {"code of a job, in bytes of UTF-8", "1m"},
	"max_input_bytes":              {"input_data of a job as it was sent", "4m"},
	"max_stdout_bytes":             {"standard output that a result keeps", "1m"},
	"max_stderr_bytes":             {"standard error that a result keeps", "1m"},
	"max_artifact_bytes":           {"one artifact", "64m"},
	"max_total_artifacts_bytes":    {"all artifacts of a job", "256m"},
	"daemon_memory":                {"memory of tsubod itself: memory.max of its leaf", "2g"},
	"max_timeout":                  {"the longest timeout of a job", "3600"},
	"default_timeout":              {"timeout of a job that names neither a timeout nor a job type", "60"},
	"max_startup_timeout":          {"the longest startup_timeout of a job", "900"},
	"default_startup_timeout":      {"bound of the boot, and of a synchronous caller's wait for a slot", "60"},
	"container_limits.nofile_soft": {"RLIMIT_NOFILE of a job", "1024"},
	"container_limits.nofile_hard": {"RLIMIT_NOFILE of a job", "4096"},
	"container_limits.nproc_soft":  {"RLIMIT_NPROC of a job", "100"},
	"container_limits.nproc_hard":  {"RLIMIT_NPROC of a job", "100"},
	"container_limits.fsize":       {"RLIMIT_FSIZE of a job", "1g"},
	"container_limits.tmpfs_size":  {"/tmp; 0 is the smaller of 100 MiB and half of the job's memory", "64m"},
	"container_limits.output_size": {"/output; 0 fits the artifacts' caps into the job's memory", "128m"},
	"container_limits.pids_limit":  {"tasks that a job sees", "200"},
	"images.preload_dirs": {"directories whose OCI layouts are imported at the start",
		"[/srv/images]"},
	"images.max_archive_bytes": {"an uploaded image", "8g"},
	"admin_uids":               {"admins on the Unix socket besides root", "[1000]"},
	"allowed_uids": {"who besides admins may use the Unix socket; empty is whoever may connect",
		"[1001, 1002]"},
	"pool_enabled": {"keep sandboxes booted for the next jobs", "false"},
	"pool_min":     {"sandboxes of each job type that wait at least", "2"},
	"pool_max":     {"and at most", "32"},
	"warm_max":     {"empty sandboxes that wait for any image", "4"},
	"server_host": {"address of the TCP listener, off unless this or server_port is written",
		"0.0.0.0"},
	"server_port":                          {"port of the TCP listener", "8000"},
	"tls_cert":                             {"certificate of the TCP listener, PEM", "/etc/tsubo/cert.pem"},
	"tls_key":                              {"its key, PEM", "/etc/tsubo/key.pem"},
	"api_auth_enabled":                     {"ask TCP callers for a key", "true"},
	"api_auth_header":                      {"header that has the key, besides Authorization: Bearer", "X-API-Key"},
	"api_keys":                             {"keys of callers besides those of tsubo keys create", "[sha256:…]"},
	"allow_unauthenticated_network_access": {"serve beyond loopback without keys or TLS", "true"},
	"allow_unauthenticated_loopback":       {"serve loopback without keys, as a user or as an admin", "true"},
	"api_rate_limit_enabled":               {"bound requests of each caller", "false"},
	"api_rate_limit_requests":              {"requests of a TCP caller in a window", "600"},
	"api_rate_limit_window_seconds":        {"length of the window", "10"},
	"api_rate_limit_unix_requests":         {"the same for each uid on the Unix socket; 0 is no bound", "1000"},
	"max_retry_attempts":                   {"attempts of a job whose sandbox could not be started", "3"},
	"retry_base_delay":                     {"pause before the second, doubled each time, in seconds", "0.5"},
	"queue_ttl_seconds":                    {"longest wait of a queued job; 0 is no bound", "3600"},
	"execution_record_ttl_days":            {"days that a record is kept", "7"},
	"dlq_ttl_days":                         {"days that a dead letter is kept", "7"},
	"caller_quota_bytes": {"records and artifacts of one caller; the oldest go first; 0 is no bound",
		"1g"},
	"store_max_bytes": {"records and artifacts of all; 0 is no bound", "50g"},
	"database_url": {"sqlite, or nothing: records are in an SQLite file below data_dir",
		"sqlite"},
	"job_types":        {"images and how code runs in them", "[{name: fast, cpu_limit: 2}]"},
	"job_types.0.name": {"name that requests use; default replaces the built-in type", "data"},
	"job_types.0.image": {"image of the catalogue, by name or digest; node for language node by default",
		"python"},
	"job_types.0.requirements": {"packages that the image must have; without an image such a job is refused",
		"[numpy]"},
	"job_types.0.command": {"argv of language command; the code is in /code/main",
		"[/bin/sh, /code/main]"},
	"job_types.0.language": {"how code runs; command where there is a command", "node"},
	"job_types.0.preload": {"modules that the waiting interpreter imports ahead of the job",
		"[json, numpy]"},
	"job_types.0.workdir": {"where jobs start; empty is /output, and the image's WORKDIR for a command",
		"/code"},
	"job_types.0.python_version":   {"version that the image has, shown to clients", "3.11"},
	"job_types.0.environment":      {"variables of every job", "{LANG: C.UTF-8}"},
	"job_types.0.memory_limit":     {"memory of a job, its tmpfs included", "1g"},
	"job_types.0.cpu_limit":        {"cores of a job", "2"},
	"job_types.0.timeout":          {"timeout of a job that states none", "60"},
	"job_types.0.startup_timeout":  {"bound of the boot", "60"},
	"job_types.0.max_memory_limit": {"the most that a request may ask for; 0 is memory_limit", "4g"},
	"job_types.0.max_cpu_limit":    {"the most cores that a request may ask for; 0 is cpu_limit", "4"},
	"job_types.0.shared_memory": {"/dev/shm, at most a quarter of the memory; 64 MiB or that quarter by " +
		"default; 0 is none", "128m"},
	"job_types.0.allowed_environment": {"variables that a request may set", "[DEBUG]"},
	"job_types.0.retry_on_interrupt":  {"run a job again that a stop or a crash interrupted", "true"},
}

// computed holds defaults that depend on the host or on other keys.
var computed = map[string]string{
	"memory_budget": "80 %", "daemon_memory": "1 GiB or more, by the caps", "socket": "run_dir/tsubo.sock",
	"job_types.0.language":      "python",
	"job_types.0.shared_memory": "64 MiB or less", "runsc_path": "/usr/lib/tsubo/runsc …",
	"init_path":                  "/usr/lib/tsubo/tsubo-init …",
	"job_types.0.python_version": "3.11", "execution_record_ttl_days": "30", "dlq_ttl_days": "30",
}

// TestDocument checks docs/config.md against the code: every key, default and range. With -update
// it writes the file.
func TestDocument(t *testing.T) {
	tree(t)
	r := newReader(nil)
	r.notes = &[]note{}
	if err := r.parse([]byte("container_limits: {}\nimages: {}\njob_types: [{name: x}]\n")); err != nil {
		t.Fatal(err)
	}
	h := host{memTotal: 64 << 30, groupExists: func(string) bool { return true },
		isFile: func(string) bool { return false }}
	c := defaults(h)
	c.bind(r, h)
	if err := errors.Join(r.done()...); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(`# Configuration

tsubod reads /etc/tsubo/tsubo.yaml, or the file that ` + "`--config` or `TSUBO_CONFIG`" +
		` names. Unknown keys are errors.
Sizes take the suffixes k, m, g and t, powers of 1024. A variable, ` + "`TSUBO_` and the key in capitals" +
		`, sets a key of the
top level and counts before the file. ` + "`tsubod --check-config`" +
		` checks a file. SIGHUP loads it, and the log names the
keys that take a restart. [examples/tsubo.yaml](../examples/tsubo.yaml) is a complete example. This page is made from
the code by ` + "`go test ./config -run Document -update`" + `.

| key | default | must be | meaning | example |
|---|---|---|---|---|
`)
	seen := map[string]bool{}
	for _, n := range *r.notes {
		m, ok := meanings[n.key]
		if !ok {
			t.Errorf("%s has no meaning in this test", n.key)
		}
		seen[n.key] = true
		preset := cmp.Or(computed[n.key], strings.Trim(fmt.Sprint(n.preset), "[]"))
		if n, is := n.preset.(int64); is && n >= 1<<20 && n%(1<<20) == 0 {
			preset = fmt.Sprintf("%d MiB", n>>20)
		}
		if n.preset == nil && computed[n.key] == "" {
			preset = "0"
		}
		preset = strings.TrimPrefix(preset, "map")
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` |\n", strings.Replace(n.key, ".0.", "[].", 1), preset, n.rule,
			m.text, m.example)
	}
	for key := range meanings {
		if !seen[key] {
			t.Errorf("%s: there is no such key", key)
		}
	}
	b.WriteString("\nKeys of Tako VM that have no use here are refused with what replaces them, unless their value " +
		"asks for nothing.\n")
	const path = "../docs/config.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != b.String() {
		t.Errorf("%s is not what the code says (%v): go test ./config -run Document -update", path, err)
	}
}

// tree skips a test that runs outside the repository, as in the VM.
func tree(t *testing.T) {
	t.Helper()
	_, err := os.Stat("../go.mod")
	need.That(t, "the repository", err == nil)
}

// TestExample checks that examples/tsubo.yaml loads.
func TestExample(t *testing.T) {
	tree(t)
	data, err := os.ReadFile("../examples/tsubo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c := mustLoad(t, string(data)); len(c.Types()) < 3 {
		t.Errorf("job types %v", c.Types())
	}
}
