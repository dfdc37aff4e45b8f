package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

const gib = 1 << 30

func testHost(environ ...string) host {
	return host{
		environ: environ, defaultFile: "/nonexistent/tsubo.yaml", memTotal: 8 * gib,
		groupExists: func(name string) bool { return name == "tsubo" || name == "staff" },
		isFile:      func(path string) bool { return path == "/usr/local/bin/runsc" },
	}
}

func loadText(t *testing.T, text string, environ ...string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tsubo.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(file, testHost(environ...))
}

func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := loadText(t, text, environ...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c, err := load("", testHost())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Strict() || c.Socket != "/run/tsubo/tsubo.sock" || c.SocketGroup != "tsubo" ||
		c.DataDir != "/var/lib/tsubo" || c.RunscPath != "/usr/local/bin/runsc" ||
		c.InitPath != "/usr/lib/tsubo/tsubo-init" || c.MemoryBudget != 8*gib/5*4 || c.MaxWorkers != 4 ||
		c.MaxQueueSize != 100 || c.Level() != 0 ||
		c.MaxTimeout != 300*time.Second || c.DefaultTimeout != 30*time.Second || c.MaxCodeBytes != 102400 ||
		len(c.Warnings) != 0 || c.File != "" ||
		!slices.Contains(c.Images.PreloadDirs, "/opt/tsubo/images") {
		t.Errorf("got %+v", c)
	}
	want := map[string]job.Type{"default": {
		Name: "default", Image: "python", Language: job.Python, Timeout: 30 * time.Second,
		StartupTimeout: 120 * time.Second, SharedMemoryFollows: true,
		Limits: job.Limits{
			Memory: 512 * job.MiB, CPU: 1, PIDs: 100, NProc: job.Rlimit{Soft: 50, Hard: 50},
			NoFile: job.Rlimit{Soft: 256, Hard: 256}, FSize: 104857600,
			Tmp: 100 * job.MiB, Output: 57671680, SharedMemory: 64 * job.MiB, Stdout: 65536, Stderr: 65536,
			Artifact: 10485760, ArtifactsTotal: 52428800, Artifacts: 1000,
		},
	}}
	if !reflect.DeepEqual(c.Types(), want) {
		t.Errorf("types %+v", c.Types())
	}
	c.Types()["default"] = job.Type{}
	if !reflect.DeepEqual(c.Types(), want) {
		t.Error("Types gives out its own map")
	}
}

func TestEveryKey(t *testing.T) {
	c := mustLoad(t, `
production_mode: true
log_level: debug
security_mode: Permissive
data_dir: /srv/tsubo/
run_dir: /run/t
socket_group: staff
runsc_path: /opt/runsc
runsc_sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
init_path: /opt/tsubo-init
mkfs_erofs_path: /opt/mkfs.erofs
cgroup_parent: /own
max_workers: 8
max_queue_size: 5.0
pool_enabled: false
pool_min: 2
pool_max: 3
warm_max: 4
memory_budget: 50%
api_max_payload_bytes: 4m
api_memory_bytes: 64m
daemon_memory: 2g
max_code_bytes: 200000
max_input_bytes: 2MiB
max_stdout_bytes: 1024
max_stderr_bytes: 2k
max_artifact_bytes: 1m
max_total_artifacts_bytes: 2m
max_timeout: 600
default_timeout: 60
max_startup_timeout: 700
default_startup_timeout: 50
admin_uids: [1000, 1001]
images: {preload_dirs: [/a, /b/], max_archive_bytes: 1g, registries: []}
container_limits: {nofile_soft: 64, nofile_hard: 128, nproc_soft: 20, nproc_hard: 30, fsize: 5m,
  tmpfs_size: 20m, output_size: 30m, pids_limit: 40}
job_types:
  - name: default
    image: my/python:3
    memory_limit: 128m
    cpu_limit: 0.5
    timeout: 10
    startup_timeout: 20
    environment: {A: "1", LANG: C.UTF-8}
    gpu: {enabled: false, vendor: null, device_ids: []}
    network_enabled: false
    shared_code: []
  - name: shell
    image: sha256:`+strings.Repeat("a", 64)+`
    command: [/bin/sh, /code/main.py]
  - {name: packages, requirements: [numpy]}
  - {name: ahead, preload: [json, xml.etree.ElementTree], workdir: /code}
  - {name: built, requirements: [numpy], image: numpy, python_version: "3.12"}
enable_seccomp: true
container_runtime: runsc
dependency_proxy_url: null
api_keys: []
max_retry_attempts: 1
`)
	limits := job.Limits{
		Memory: 128 * job.MiB, CPU: 0.5, PIDs: 40, NProc: job.Rlimit{Soft: 20, Hard: 30},
		NoFile: job.Rlimit{Soft: 64, Hard: 128}, FSize: 5 * job.MiB,
		Tmp: 20 * job.MiB, Output: 30 * job.MiB, SharedMemory: 32 * job.MiB, Stdout: 1024, Stderr: 2048,
		Artifact: job.MiB, ArtifactsTotal: 2 * job.MiB, Artifacts: 1000,
	}
	plain := limits
	plain.Memory, plain.CPU, plain.SharedMemory = 512*job.MiB, 1, 64*job.MiB
	want := map[string]job.Type{
		"default": {
			Name: "default", Image: "my/python:3", Language: job.Python, Timeout: 10 * time.Second,
			StartupTimeout: 20 * time.Second, PythonVersion: "3.11",
			Environment: map[string]string{"A": "1", "LANG": "C.UTF-8"}, Limits: limits,
		},
		"shell": {
			Name: "shell", Image: "sha256:" + strings.Repeat("a", 64), Language: job.Command,
			Command: []string{"/bin/sh", "/code/main.py"},
			Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second, PythonVersion: "3.11", Limits: plain,
		},
		"ahead": {
			Name: "ahead", Image: "python", Language: job.Python, Preload: []string{"json", "xml.etree.ElementTree"},
			Workdir: "/code",
			Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second, PythonVersion: "3.11", Limits: plain,
		},
		"packages": {Name: "packages", Language: job.Python, Requirements: []string{"numpy"}, Timeout: 30 * time.Second,
			StartupTimeout: 120 * time.Second, PythonVersion: "3.11", Limits: plain},
		"built": {
			Name: "built", Image: "numpy", Language: job.Python, Requirements: []string{"numpy"},
			Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second,
			PythonVersion: "3.12", Limits: plain,
		},
	}
	for name, t := range want {
		t.SharedMemoryFollows = true
		want[name] = t
	}
	if !reflect.DeepEqual(c.Types(), want) {
		t.Errorf("types\n got %+v\nwant %+v", c.Types(), want)
	}
	got := *c
	got.types, got.File = nil, ""
	if !reflect.DeepEqual(got, Config{
		Warnings: []string{"security_mode is permissive: jobs run even where this host cannot enforce their " +
			"limits"},
		ProductionMode: true, LogLevel: "DEBUG", SecurityMode: Permissive, DataDir: "/srv/tsubo", RunDir: "/run/t",
		Socket: "/run/t/tsubo.sock", SocketGroup: "staff",
		RunscPath: "/opt/runsc", RunscSHA256: strings.Repeat("0123456789abcdef", 4), InitPath: "/opt/tsubo-init",
		MkfsErofsPath: "/opt/mkfs.erofs", CgroupParent: "/own", AdminUIDs: []uint32{1000, 1001},
		MemoryBudget: 8 * gib / 100 * 50, MaxWorkers: 8, MaxQueueSize: 5, MaxPayloadBytes: 4 << 20, HeldBytes: 64 << 20,
		DaemonMemory: 2 * gib, MaxCodeBytes: 200000, MaxInputBytes: 2 << 20,
		DefaultTimeout: time.Minute, MaxTimeout: 600 * time.Second, DefaultStartupTimeout: 50 * time.Second,
		MaxStartupTimeout: 700 * time.Second,
		Images:            Images{PreloadDirs: []string{"/a", "/b"}, MaxArchiveBytes: gib},
		Pool:              Pool{Enabled: false, Min: 2, Max: 3, WarmMax: 4},
		Access:            defaultAccess(),
		Keeping: Keeping{Attempts: 1, RetryDelay: time.Second, RecordTTL: 720 * time.Hour,
			DLQTTL: 720 * time.Hour, QuotaBytes: 4 * gib},
		outputs: outputs{1024, 2048, job.MiB, 2 * job.MiB},
		limits: containerLimits{noFile: job.Rlimit{Soft: 64, Hard: 128}, nProc: job.Rlimit{Soft: 20, Hard: 30},
			fSize: 5 * job.MiB, pids: 40, tmp: 20 * job.MiB, output: 30 * job.MiB},
	}) {
		t.Errorf("got %+v", got)
	}
}

func TestEnvironmentWins(t *testing.T) {
	c := mustLoad(t, "max_workers: 2\nsecurity_mode: permissive\nproduction_mode: true\nlog_level: INFO\n",
		"TSUBO_MAX_WORKERS=3", "TSUBO_SECURITY_MODE=STRICT", "TSUBO_PRODUCTION_MODE=off", "TSUBO_MEMORY_BUDGET=2g",
		"TSUBO_ADMIN_UIDS=5, 6", "TSUBO_LOG_LEVEL=",
		"TSUBO_API_MAX_PAYLOAD_BYTES=3000000", "TSUBO_ENABLE_SECCOMP=yes", "TSUBO_SESSIONS_ENABLED=no",
		"TSUBO_NONSENSE=1", "TAKO_VM_DATA_DIR=/x", "TSUBO_REQUIRE=root", "PATH=/bin")
	if c.MaxWorkers != 3 || !c.Strict() || c.ProductionMode || c.MemoryBudget != 2*gib ||
		!slices.Equal(c.AdminUIDs, []uint32{5, 6}) || c.LogLevel != "INFO" || c.MaxPayloadBytes != 3000000 {
		t.Errorf("got %+v", c)
	}
	if len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "TSUBO_DATA_DIR") ||
		!strings.Contains(c.Warnings[1], "TSUBO_NONSENSE") {
		t.Errorf("warnings %q", c.Warnings)
	}
	for _, v := range []string{"yes", "YES", "1", "true", "True"} {
		if !mustLoad(t, "", "TSUBO_PRODUCTION_MODE="+v).ProductionMode {
			t.Errorf("%s is not true", v)
		}
	}
}

func TestWhichFile(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"argument", "variable", "standard"} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "max_workers: %d\n", i+1),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := testHost("TSUBO_CONFIG=" + filepath.Join(dir, "variable"))
	h.defaultFile = filepath.Join(dir, "standard")
	check := func(argument string, want int) {
		t.Helper()
		if c, err := load(argument, h); err != nil || c.MaxWorkers != want {
			t.Errorf("got %+v, %v", c, err)
		}
	}
	check(filepath.Join(dir, "argument"), 1)
	check("", 2)
	h.environ = nil
	check("", 3)
	h.environ = []string{"TSUBO_CONFIG=" + filepath.Join(dir, "missing")}
	if _, err := load("", h); err == nil || !strings.Contains(err.Error(), "TSUBO_CONFIG") {
		t.Errorf("a missing TSUBO_CONFIG: %v", err)
	}
	if _, err := load(filepath.Join(dir, "missing"), h); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("a missing --config: %v", err)
	}
	if _, err := load(dir, h); err == nil {
		t.Error("read a directory")
	}
	if _, err := load("/dev/zero", h); err == nil {
		t.Error("read a device")
	}
}

// Each case is refused with its field, and no part of the value, which contains hunter2 where
// possible.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, field, says string }{
		{"max_wokers: 4", "max_wokers", "did you mean max_workers?"},
		{"maxworkers: 4", "maxworkers", "did you mean max_workers?"},
		{"hunter: hunter2", "hunter", "unknown key"},
		{"MAX_WORKERS: 4", "MAX_WORKERS", "did you mean max_workers?"},
		{"1: hunter2", "1", "unknown key"},
		{"max_workers: hunter2", "max_workers", "whole number from 1 to 64"},
		{"max_workers: '4'", "max_workers", "whole number"},
		{"max_workers: 4.5", "max_workers", "whole number"},
		{"max_workers: true", "max_workers", "whole number"},
		{"max_workers: 0", "max_workers", "from 1 to 64"},
		{"max_workers: 65", "max_workers", "from 1 to 64"},
		{"max_workers: -1", "max_workers", "from 1 to 64"},
		{"max_workers: 1e309", "max_workers", "whole number"},
		{"max_workers: .inf", "max_workers", "whole number"},
		{"max_workers: .nan", "max_workers", "whole number"},
		{"max_workers: 99999999999999999999", "max_workers", "whole number"},
		{"max_workers:", "max_workers", "has no value"},
		{"max_queue_size: 10001", "max_queue_size", "10000"},
		{"pool_min: 9", "pool_min", "pool_max (8)"},
		{"pool_max: 257", "pool_max", "256"},
		{"warm_max: -1", "warm_max", "64"},
		{"production_mode: hunter2", "production_mode", "true or false"},
		{"production_mode: 1", "production_mode", "true or false"},
		{"log_level: hunter2", "log_level", "DEBUG"},
		{"log_level: 1", "log_level", "DEBUG"},
		{"security_mode: none", "security_mode", "strict, permissive"},
		{"security_mode:", "security_mode", "has no value"},
		{"data_dir: hunter2", "data_dir", "absolute path"},
		{"data_dir: \"/a\\0hunter2\"", "data_dir", "absolute path"},
		{"data_dir: 5", "data_dir", "absolute path"},
		{"socket: /" + strings.Repeat("a", 107), "socket", "108 bytes"},
		{"run_dir: /" + strings.Repeat("a", 100), "run_dir", "a Unix socket can have 107"},
		{"runsc_sha256: hunter2", "runsc_sha256", "64"},
		{"runsc_sha256: " + strings.Repeat("g", 64), "runsc_sha256", "hex digits"},
		{"socket_group: hunter2", "socket_group", "no such group"},
		{"cgroup_parent: /", "cgroup_parent", "root of the hierarchy"},
		{"cgroup_parent: /a/..", "cgroup_parent", "root of the hierarchy"},
		{"memory_budget: 0%", "memory_budget", "percentage"},
		{"memory_budget: 101%", "memory_budget", "percentage"},
		{"memory_budget: -5%", "memory_budget", "percentage"},
		{"memory_budget: 9g", "memory_budget", "this host's memory"},
		{"memory_budget: 10GG", "memory_budget", "size"},
		{"memory_budget: 1e3m", "memory_budget", "size"},
		{"memory_budget: 9223372036854775807g", "memory_budget", "size"},
		{"memory_budget: 500m", "memory_budget", "built-in type default"},
		{"api_max_payload_bytes: 1023", "api_max_payload_bytes", "from 1024"},
		{"max_code_bytes: 10485761", "max_code_bytes", "to 10485760"},
		{"api_memory_bytes: 2m", "api_memory_bytes", "four times"},
		{"daemon_memory: 300m", "daemon_memory", "raise this"},
		{"max_input_bytes: 10m", "max_input_bytes", "api_max_payload_bytes"},
		{"api_max_payload_bytes: 1024", "max_code_bytes", "api_max_payload_bytes"},
		{"max_stdout_bytes: 0", "max_stdout_bytes", "from 1024"},
		{"max_total_artifacts_bytes: -1", "max_total_artifacts_bytes", "from 1024"},
		{"max_timeout: 86401", "max_timeout", "86400"},
		{"max_timeout: 20", "default_timeout", "max_timeout (20)"},
		{"max_startup_timeout: 60", "default_startup_timeout", "max_startup_timeout (60)"},
		{"admin_uids: 5", "admin_uids", "list"},
		{"admin_uids: [hunter2]", "admin_uids.0", "numeric uid"},
		{"admin_uids: [-1]", "admin_uids.0", "numeric uid"},
		{"admin_uids: [4294967295]", "admin_uids.0", "numeric uid"},
		{"images: hunter2", "images", "mapping"},
		{"images: {preload_dirs: [hunter2]}", "images.preload_dirs.0", "absolute"},
		{"images: {hunter: hunter2}", "images.hunter", "unknown key"},
		{"images: {registries: [hunter2]}", "images.registries", "this version"},
		{"container_limits: {pids: 5}", "container_limits.pids", "unknown key"},
		{"container_limits: {pids_limit: 9}", "container_limits.pids_limit", "from 10"},
		{"container_limits: {nofile_soft: 1000}", "container_limits.nofile_hard", "set both"},
		{"container_limits: {nproc_hard: 20}", "container_limits.nproc_hard", "set both"},
		{"container_limits: {tmpfs_size: 0}", "container_limits.tmpfs_size", "from 10485760"},
		{"container_limits: {tmpfs_size: ''}", "container_limits.tmpfs_size", "from 10485760"},
		{"container_limits: {tmpfs_size: 1g}", "job_types.default (built in).memory_limit", "tmpfs_size"},
		{"container_limits: {tmpfs_size: 500m, output_size: 20m}", "job_types.default (built in).memory_limit",
			"output_size"},
		{"container_limits: {tmpfs_size: 60m}\njob_types: [{name: a, memory_limit: 64m}, {name: b, memory_limit: 60m}]",
			"job_types.1.memory_limit", "from 64m"},
		{"container_limits: {fsize: 1m}", "container_limits", "api_max_payload_bytes"},
		{"job_types: hunter2", "job_types", "list"},
		{"job_types: [hunter2]", "job_types.0", "mapping"},
		{"job_types: [{image: python}]", "job_types.0.name", "missing"},
		{"job_types: [{name: 'a b'}]", "job_types.0.name", "a-zA-Z0-9"},
		{"job_types: [{name: a}, {name: a}]", "job_types.1.name", "earlier"},
		{"job_types: [{name: a, hunter: hunter2}]", "job_types.0.hunter", "unknown key"},
		{"job_types: [{name: a, image: '../hunter2'}]", "job_types.0.image", "name of an image"},
		{"job_types: [{name: a, memory_limit: 512}]", "job_types.0.memory_limit", "suffix"},
		{"job_types: [{name: a, memory_limit: 63m}]", "job_types.0.memory_limit", "from 64m"},
		{"job_types: [{name: a, memory_limit: 33g}]", "job_types.0.memory_limit", "32g"},
		{"job_types: [{name: a, memory_limit: 8g}]", "job_types.0.memory_limit", "could never run"},
		{"job_types: [{name: a, cpu_limit: 1e-9}]", "job_types.0.cpu_limit", "0.1 to 16"},
		{"job_types: [{name: a, cpu_limit: .nan}]", "job_types.0.cpu_limit", "0.1 to 16"},
		{"job_types: [{name: a, cpu_limit: 17}]", "job_types.0.cpu_limit", "0.1 to 16"},
		{"job_types: [{name: a, timeout: 301}]", "job_types.0.timeout", "max_timeout (300)"},
		{"job_types: [{name: a, timeout: 3601}]", "job_types.0.timeout", "3600"},
		{"max_startup_timeout: 130\njob_types: [{name: a, startup_timeout: 131}]", "job_types.0.startup_timeout",
			"max_startup_timeout (130)"},
		{"job_types: [{name: a, environment: {'A=B': hunter2}}]", "job_types.0.environment", "[A-Za-z_]"},
		{"job_types: [{name: a, environment: {A: '$hunter2'}}]", "job_types.0.environment.A", "backtick"},
		{"job_types: [{name: a, environment: {A: \"hunter2\\n\"}}]", "job_types.0.environment.A", "control"},
		{"job_types: [{name: a, environment: {A: 5}}]", "job_types.0.environment.A", "in quotes"},
		{"job_types: [{name: a, requirements: ['git+https://hunter2']}]", "job_types.0.requirements.0", "package name"},
		{"job_types: [{name: a, command: [x], language: python}]", "job_types.0.command", "only for"},
		{"job_types: [{name: a, language: command}]", "job_types.0.command", "missing"},
		{"job_types: [{name: a, command: ['']}]", "job_types.0.command.0", "program's name"},
		{"job_types: [{name: a, command: [\"a\\0hunter2\"]}]", "job_types.0.command.0", "NUL"},
		{"job_types: [{name: a, command: [x], language: node}]", "job_types.0.command", "only for"},
		{"job_types: [{name: a, command: [x], preload: [json]}]", "job_types.0.preload", "only for"},
		{"job_types: [{name: a, workdir: hunter2}]", "job_types.0.workdir", "absolute path"},
		{"job_types: [{name: a, workdir: /a/../hunter2}]", "job_types.0.workdir", "absolute path"},
		{"job_types: [{name: a, workdir: /a/}]", "job_types.0.workdir", "absolute path"},
		{"job_types: [{name: a, workdir: [/a]}]", "job_types.0.workdir", "text"},
		{"job_types: [{name: a, preload: json}]", "job_types.0.preload", "list"},
		{"job_types: [{name: a, preload: [json, /etc/hunter2]}]", "job_types.0.preload.1", "no path"},
		{"job_types: [{name: a, preload: [.hunter2]}]", "job_types.0.preload.0", "no path"},
		{"job_types: [{name: a, language: node, preload: [../hunter2]}]", "job_types.0.preload.0", "no path"},
		{"job_types: [{name: a, preload: [json, re, json]}]", "job_types.0.preload.2", "twice"},
		{"job_types: [{name: a, preload: [" + strings.Repeat("json,", 65) + "]}]", "job_types.0.preload", "at most 64"},
		{"job_types: [{name: a, language: ruby}]", "job_types.0.language", "python, node, command"},
		{"job_types: [{name: a, python_version: '3.12'}]", "job_types.0.python_version", "name an image"},
		{"job_types: [{name: a, python_version: '2.7'}]", "job_types.0.python_version", "3.8"},
		{"job_types: [{name: a, gpu: {enabled: true}}]", "job_types.0.gpu", "no GPU"},
		{"job_types: [{name: a, gpu: {enabled: false, vendor: nvidia}}]", "job_types.0.gpu", "no GPU"},
		{"job_types: [{name: a, network_enabled: true}]", "job_types.0.network_enabled", "this version"},
		{"job_types: [{name: a, session_enabled: true}]", "job_types.0.session_enabled", "no sessions"},
		{"job_types: [{name: a, base_image: hunter2}]", "job_types.0.base_image", "image"},
		{"job_types: [{name: a, shared_code: [hunter2]}]", "job_types.0.shared_code", "image"},
		{"docker_image: hunter2", "docker_image", "job_types: image"},
		{"container_runtime: runc", "container_runtime", "runsc only"},
		{"enable_seccomp: false", "enable_seccomp", "cannot be switched off"},
		{"enable_cap_restrictions: false", "enable_cap_restrictions", "never"},
		{"enable_userns: true", "enable_userns", "uid 1000"},
		{"seccomp_profile_path: /hunter2", "seccomp_profile_path", "this version"},
		{"allow_runtime_requirements: true", "allow_runtime_requirements", "image"},
		{"enable_runtime_dependency_cache: true", "enable_runtime_dependency_cache", "image"},
		{"dependency_proxy_url: http://hunter2", "dependency_proxy_url", "proxy"},
		{"queue_wait_timeout: 1", "queue_wait_timeout", "startup_timeout"},
		{"sessions_enabled: true", "sessions_enabled", "no sessions"},
		{"session_max_concurrent: 5", "session_max_concurrent", "no sessions"},
		{"server_host: hunter2", "server_host", "IP address"},
		{"server_port: 0", "server_port", "from 1 to 65535"},
		{"tls_cert: /hunter2", "tls_cert", "go together"},
		{"api_keys: [hunter2hunter2hunter2]", "api_keys", "sha256:"},
		{"api_keys: [5]", "api_keys", "text"},
		{"api_keys: [sha256:" + strings.Repeat("a", 64) + ", sha256:" + strings.Repeat("a", 64) + "]", "api_keys",
			"twice"},
		{"api_auth_header: 'hunter2:'", "api_auth_header", "header name"},
		{"allow_unauthenticated_loopback: hunter2", "allow_unauthenticated_loopback", "admin"},
		{"api_rate_limit_requests: 0", "api_rate_limit_requests", "from 1"},
		{"api_rate_limit_window_seconds: 3601", "api_rate_limit_window_seconds", "3600"},
		{"database_url: postgresql://u:hunter2@h/db", "database_url", "SQLite"},
		{"max_retry_attempts: 11", "max_retry_attempts", "to 10"},
		{"retry_base_delay: 0", "retry_base_delay", "0.1 to 60"},
		{"execution_record_ttl_days: 0", "execution_record_ttl_days", "from 1"},
		{"dlq_ttl_days: 366", "dlq_ttl_days", "365"},
		{"caller_quota_bytes: 2g\nstore_max_bytes: 1g", "caller_quota_bytes", "store_max_bytes"},
		{"job_types: [{name: a, max_memory_limit: 64m}]", "job_types.0.max_memory_limit", "less than memory_limit"},
		{"job_types: [{name: a, shared_memory: 129m}]", "job_types.0.shared_memory", "a quarter of memory_limit"},
		{"job_types: [{name: a, shared_memory: 1000}]", "job_types.0.shared_memory", "must be 0"},
		{"job_types: [{name: a, max_cpu_limit: 0.5}]", "job_types.0.max_cpu_limit", "less than cpu_limit"},
		{"job_types: [{name: a, allowed_environment: ['hunter-2']}]", "job_types.0.allowed_environment.0", "[A-Za-z_]"},
	} {
		_, err := loadText(t, c.text)
		if err == nil {
			t.Errorf("%s: accepted", c.text)
			continue
		}
		prefix, _, _ := strings.Cut(c.field, " ")
		if !strings.Contains(err.Error(), "field "+c.field+": ") && prefix != "1" ||
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.text, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the value is in %v", c.text, err)
		}
	}
}

func TestRefusedYAML(t *testing.T) {
	for text, says := range map[string]string{
		"max_workers: 1\nmax_workers: 2":               `line 2, column 1: mapping key "max_workers" already defined`,
		"images: {preload_dirs: [], preload_dirs: []}": "already defined",
		"job_types: [{name: a, name: b}]":              "already defined",
		"a: [hunter2":                                  "line 1",
		"- hunter2":                                    "must be a mapping",
		"hunter2":                                      "must be a mapping",
		"max_workers: 1\n---\nmax_workers: 2":          "more than one YAML document",
		"\ta: hunter2":                                 "line 1",
		"a: \"hunter2":                                 "line 1",
		"a: hunter2: b":                                "line 1",
		"a: *hunter2":                                  "",
	} {
		_, err := loadText(t, text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n") && says != "" {
			t.Errorf("%q: the file's text is in %v", text, err)
		}
	}
	if _, err := loadText(t, "# "+strings.Repeat("a", maxFile)); err == nil {
		t.Error("read a file that is too long")
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "{}"} {
		if _, err := loadText(t, empty); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestRefusedVariables(t *testing.T) {
	for _, c := range []struct{ entry, field string }{
		{"TSUBO_MAX_WORKERS=hunter2", "max_workers"}, {"TSUBO_MAX_WORKERS=4.0", "max_workers"},
		{"TSUBO_MAX_WORKERS= 4", "max_workers"},
		{"TSUBO_API_KEYS=hunter2", "api_keys"}, {"TSUBO_ENABLE_SECCOMP=off", "enable_seccomp"},
		{"TSUBO_ENABLE_SECCOMP=on", "enable_seccomp"},
		{"TSUBO_DATABASE_URL=postgresql://u:hunter2@h/db", "database_url"}, {"TSUBO_JOB_TYPES=hunter2", "job_types.0"},
		{"TSUBO_IMAGES=hunter2", "images"},
		{"TSUBO_ADMIN_UIDS=hunter2", "admin_uids.0"}, {"TSUBO_DATA_DIR=hunter2", "data_dir"},
	} {
		_, err := loadText(t, "enable_seccomp: true\n", c.entry)
		if err == nil || !strings.Contains(err.Error(), "field "+c.field+": ") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", c.entry, err)
		}
	}
}

func TestEverythingIsReportedAtOnce(t *testing.T) {
	_, err := loadText(t, "max_workers: 0\nx: 1\ncontainer_limits: {y: 1}\njob_types: [{name: ''}, "+
		"{z: 1}]\ndocker_image: a\n")
	for _, field := range []string{"max_workers", "x", "container_limits.y", "job_types.0.name", "job_types.1.name",
		"job_types.1.z", "docker_image"} {
		if err == nil || !strings.Contains(err.Error(), "field "+field+": ") {
			t.Errorf("%s is missing in %v", field, err)
		}
	}
	many, is := err.(interface{ Unwrap() []error }) //nolint:errorlint // the joined error itself
	if !is || len(many.Unwrap()) != len(strings.Split(err.Error(), "\n")) {
		t.Errorf("not one error a line: %v", err)
	}
}

// Unset sizes fit any memory; mounted sizes never sum to more than the memory.
func TestDerivedSizes(t *testing.T) {
	for _, c := range []struct {
		limits, memory string
		tmp, output    int64
	}{
		{"", "64m", 32 * job.MiB, 32 * job.MiB},
		{"", "1g", 100 * job.MiB, 57671680},
		{"tmpfs_size: 500m", "512m", 500 * job.MiB, 12 * job.MiB},
		{"tmpfs_size: 63m", "64m", 63 * job.MiB, job.MiB},
		{"output_size: 60m", "64m", 4 * job.MiB, 60 * job.MiB},
		{"output_size: 63m", "64m", job.MiB, 63 * job.MiB},
		{"tmpfs_size: 32m, output_size: 32m", "64m", 32 * job.MiB, 32 * job.MiB},
	} {
		cfg := mustLoad(t, fmt.Sprintf("container_limits: {%s}\njob_types: [{name: default, memory_limit: %s}]",
			c.limits, c.memory))
		l := cfg.Types()["default"].Limits
		if l.Tmp != c.tmp || l.Output != c.output || l.Tmp+l.Output > l.Memory {
			t.Errorf("%s of %s: tmp %d, output %d", c.limits, c.memory, l.Tmp, l.Output)
		}
	}
}

func TestMissingDefaultGroupIsAWarning(t *testing.T) {
	h := testHost()
	h.groupExists = func(string) bool { return false }
	c, err := load("", h)
	if err != nil || c.SocketGroup != "" || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "groupadd") {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "5": 5, "5b": 5, "1k": 1024, "1K": 1024, "1KB": 1024, "1KiB": 1024, "512m": 512 << 20, "2G": 2 << 30,
		"1t": 1 << 40, "8388607t": 8388607 << 40,
		"": -1, "m": -1, "-1": -1, "+1": -1, "1 m": -1, "1.5m": -1, "1e3": -1, "0x1": -1, "1mm": -1, "1ib": -1,
		"1i": -1, "8388608t": -1, "9223372036854775808": -1, "1\x00": -1,
	} {
		n, ok := parseSize(text)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: %d, want %d", text, n, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("max_workers: 4\njob_types: [{name: a, environment: {A: b}}]")
	f.Add("a: &x [1]\nb: *x")
	f.Add("images: {preload_dirs: [/a]}\ncontainer_limits: {tmpfs_size: 10m}\ngpu: 1")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := loadText(t, text)
		if err != nil {
			return
		}
		for name, typ := range c.Types() {
			l := typ.Limits
			if l.Memory <= 0 || l.CPU <= 0 || l.PIDs <= 0 || l.Tmp <= 0 || l.Output <= 0 || l.Tmp+l.Output > l.Memory ||
				typ.Timeout <= 0 || typ.Timeout > c.MaxTimeout {
				t.Errorf("%s: %+v of %q", name, l, text)
			}
		}
	})
}

func TestLoadOnThisHost(t *testing.T) {
	t.Setenv("TSUBO_CONFIG", "/nonexistent")
	if _, err := Load(""); err == nil {
		t.Error("a missing TSUBO_CONFIG was passed over")
	}
	file := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(file, []byte("job_types: [{name: default, memory_limit: 64m}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.MemoryBudget < 64*job.MiB || c.File != file {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSharedMemory(t *testing.T) {
	c := mustLoad(t, "job_types: [{name: a, shared_memory: 0}, {name: b, shared_memory: 100m}, {name: c}, {name: d, "+
		"memory_limit: 64m}]")
	for name, want := range map[string]int64{"a": 0, "b": 100 * job.MiB, "c": 64 * job.MiB, "d": 16 * job.MiB,
		"default": 64 * job.MiB} {
		jobType := c.Types()[name]
		if got := jobType.Limits.SharedMemory; got != want || jobType.SharedMemoryFollows != (name > "b") {
			t.Errorf("%s: %d, follows %v", name, got, jobType.SharedMemoryFollows)
		}
	}
}

// The built-in type is the same whether or not a request names it.
func TestBuiltInTimeouts(t *testing.T) {
	c := mustLoad(t, "default_timeout: 5\nmax_timeout: 10\ndefault_startup_timeout: 50")
	if d := c.Types()["default"]; d.Timeout != 5*time.Second || d.StartupTimeout != 50*time.Second {
		t.Errorf("default: %v, %v", d.Timeout, d.StartupTimeout)
	}
	if _, err := loadText(t, "max_timeout: 10"); err == nil || !strings.Contains(err.Error(), "default_timeout") {
		t.Errorf("a default above the ceiling: %v", err)
	}
}
