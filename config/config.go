package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// DefaultFile is read if it exists and neither an argument nor TSUBO_CONFIG names another file.
const DefaultFile = "/etc/tsubo/tsubo.yaml"

// Values of Config.SecurityMode.
const (
	Strict     = "strict"
	Permissive = "permissive"
)

// maxSocketPath limits the path of a Unix socket, in bytes: sun_path of unix(7) without its NUL.
const maxSocketPath = 107

// sentryRoom is the maximum memory of a sandbox beyond its job's memory, in bytes. A job type must
// fit the budget including sentryRoom.
const sentryRoom = 64 * job.MiB

// Config is a checked configuration with every field set. It is read-only.
type Config struct {
	File     string   // the file that was read; empty means none
	Warnings []string // to be logged at start

	ProductionMode bool
	LogLevel       string // DEBUG, INFO, WARNING, ERROR or CRITICAL
	SecurityMode   string // Strict or Permissive

	DataDir, RunDir string
	Socket          string // path, at most 107 bytes
	SocketGroup     string // empty if the default group does not exist; only root can then use the socket
	RunscPath       string // absolute
	RunscSHA256     string // required digest of the file at RunscPath, 64 lower-case hex digits; empty means any
	InitPath        string // absolute
	MkfsErofsPath   string // absolute; empty means a search of PATH
	CgroupParent    string // absolute path in the hierarchy; empty means the default
	AdminUIDs       []uint32
	AllowedUIDs     []uint32 // non-admins who may use the Unix socket; empty means that its file mode decides

	MemoryBudget int64 // bytes
	DaemonMemory int64 // bytes, memory.max of tsubod's own leaf
	MaxWorkers   int
	MaxQueueSize int

	MaxPayloadBytes int64
	HeldBytes       int64 // bytes of request and response bodies in memory, over all requests
	MaxCodeBytes    int64
	MaxInputBytes   int64

	DefaultTimeout, MaxTimeout               time.Duration
	DefaultStartupTimeout, MaxStartupTimeout time.Duration

	Images  Images
	Pool    Pool
	Access  Access
	Keeping Keeping

	outputs outputs
	limits  containerLimits
	types   map[string]job.Type
}

// Images configures the sources of images.
type Images struct {
	// PreloadDirs are directories of OCI layouts, which are imported at start. Missing directories
	// are ignored.
	PreloadDirs     []string
	MaxArchiveBytes int64 // limit of an upload
}

// Strict reports whether the daemon refuses to run on a host that cannot enforce every limit.
func (c *Config) Strict() bool { return c.SecurityMode == Strict }

// Level returns LogLevel as a log/slog level.
func (c *Config) Level() slog.Level {
	switch c.LogLevel {
	case "DEBUG":
		return slog.LevelDebug
	case "WARNING":
		return slog.LevelWarn
	case "ERROR", "CRITICAL":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Types returns the job types by name, always including "default". The caller owns the map.
func (c *Config) Types() map[string]job.Type {
	types := make(map[string]job.Type, len(c.types))
	for name, t := range c.types {
		types[name] = t
	}
	return types
}

// Load reads the file at path. If path is empty, it reads the file in TSUBO_CONFIG, or DefaultFile
// if that exists. Environment variables override the file. The joined error contains every problem.
// Load creates nothing and needs no privilege except to read the file.
func Load(path string) (*Config, error) {
	total, err := memTotal()
	if err != nil {
		return nil, err
	}
	return load(path, host{
		environ: os.Environ(), defaultFile: DefaultFile, memTotal: total,
		groupExists: func(name string) bool { _, err := user.LookupGroup(name); return err == nil },
		isFile: func(path string) bool {
			info, err := os.Stat(path)
			return err == nil && info.Mode().IsRegular()
		},
	})
}

// host holds Load's inputs from the machine.
type host struct {
	environ     []string
	defaultFile string
	memTotal    int64
	groupExists func(string) bool
	isFile      func(string) bool
}

func memTotal() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("read the host's memory size: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit),
		nil //nolint:gosec,unconvert // both are small enough; Totalram differs between architectures
}

func load(path string, h host) (*Config, error) {
	r := newReader(h.environ)
	file, data, err := readFile(path, r.env["TSUBO_CONFIG"], h.defaultFile)
	if err != nil {
		return nil, err
	}
	if err := r.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := defaults(h)
	c.File = file
	c.bind(r, h)
	if problems := r.done(); problems != nil {
		if file != "" {
			problems = append([]error{fmt.Errorf("the configuration file %s cannot be used", file)}, problems...)
		}
		return nil, errors.Join(problems...)
	}
	c.Warnings = append(c.Warnings, r.warnings...)
	return c, nil
}

// maxFile limits the size of the configuration file, in bytes.
const maxFile = 1 << 20

func readFile(argument, variable, standard string) (path string, data []byte, err error) {
	what := "--config"
	switch {
	case argument != "":
		path = argument
	case variable != "":
		path, what = variable, "TSUBO_CONFIG"
	default:
		if _, err := os.Stat(standard); errors.Is(err, fs.ErrNotExist) {
			return "", nil, nil
		}
		path, what = standard, "the default configuration file"
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("read %s: %w", what, err)
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return "", nil, fmt.Errorf("read %s %s: must be a regular file of at most %d bytes", what, path, maxFile)
	}
	if data, err = os.ReadFile(path); err != nil {
		return "", nil, fmt.Errorf("read %s: %w", what, err)
	}
	return path, data, nil
}

func defaults(h host) *Config {
	return &Config{
		LogLevel: "INFO", SecurityMode: Strict,
		DataDir: "/var/lib/tsubo", RunDir: "/run/tsubo", SocketGroup: "tsubo",
		RunscPath: firstFile(h, "/usr/lib/tsubo/runsc", "/usr/local/lib/tsubo/runsc", "/usr/local/bin/runsc",
			"/usr/bin/runsc"),
		InitPath: firstFile(h, "/usr/lib/tsubo/tsubo-init", "/usr/local/lib/tsubo/tsubo-init",
			"/usr/local/bin/tsubo-init", "/usr/bin/tsubo-init"),
		MemoryBudget: h.memTotal / 5 * 4, MaxWorkers: 4, MaxQueueSize: 100,
		MaxPayloadBytes: 2097152, HeldBytes: 16 * job.MiB, MaxCodeBytes: 102400, MaxInputBytes: 1048576,
		DefaultTimeout: 30 * time.Second, MaxTimeout: 300 * time.Second,
		DefaultStartupTimeout: 120 * time.Second, MaxStartupTimeout: 600 * time.Second,
		Access: defaultAccess(), Keeping: defaultKeeping(), Pool: defaultPool(),
		Images: Images{PreloadDirs: []string{"/opt/tsubo/images", "/usr/share/tsubo/images"},
			MaxArchiveBytes: 4 << 30},
		outputs: outputs{stdout: 65536, stderr: 65536, artifact: 10485760, total: 52428800},
		limits: containerLimits{
			noFile: job.Rlimit{Soft: 256, Hard: 256}, nProc: job.Rlimit{Soft: 50, Hard: 50}, fSize: 104857600,
			pids: 100,
		},
	}
}

// firstFile returns the first path at which a file exists, or paths[0] if there is none.
func firstFile(h host, paths ...string) string {
	return paths[max(0, slices.IndexFunc(paths, h.isFile))]
}

// bind reads all keys.
func (c *Config) bind(r *reader, h host) {
	r.boolean("production_mode", &c.ProductionMode)
	r.word("log_level", &c.LogLevel, upper, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
	r.word("security_mode", &c.SecurityMode, lower, Strict, Permissive)
	c.bindPlaces(r, h)

	r.integer("max_workers", &c.MaxWorkers, 1, 64)
	r.integer("max_queue_size", &c.MaxQueueSize, 1, 10000)
	r.share("memory_budget", &c.MemoryBudget, h.memTotal)

	r.bytes("api_max_payload_bytes", &c.MaxPayloadBytes, 1024, 104857600)
	c.HeldBytes = max(c.HeldBytes, 4*c.MaxPayloadBytes)
	if r.bytes("api_memory_bytes", &c.HeldBytes, 1<<20, 1<<40); c.HeldBytes < 4*c.MaxPayloadBytes {
		r.fail("api_memory_bytes", "%d is less than four times api_max_payload_bytes (%d): raise this, or lower that",
			c.HeldBytes, c.MaxPayloadBytes)
	}
	r.bytes("max_code_bytes", &c.MaxCodeBytes, 1024, 10485760)
	r.bytes("max_input_bytes", &c.MaxInputBytes, 1024, 104857600)
	for _, f := range []struct {
		name string
		n    int64
	}{{"max_code_bytes", c.MaxCodeBytes}, {"max_input_bytes", c.MaxInputBytes}} {
		if f.n > c.MaxPayloadBytes && (r.written(f.name) || r.written("api_max_payload_bytes")) {
			r.fail(f.name, "%d does not fit in a request body of api_max_payload_bytes (%d): raise that, or lower this",
				f.n, c.MaxPayloadBytes)
		}
	}
	c.outputs.bind(r)
	c.bindDaemonMemory(r)
	c.bindTimes(r)
	c.limits.bind(r)
	if int64(c.limits.fSize) < c.MaxPayloadBytes {
		r.fail("container_limits",
			"fsize (%d) is less than api_max_payload_bytes (%d), and what a request brings is written under it: "+
				"raise fsize, or lower that",
			int64(c.limits.fSize), c.MaxPayloadBytes)
	}
	c.bindImages(r)
	r.uids("admin_uids", &c.AdminUIDs)
	r.uids("allowed_uids", &c.AllowedUIDs)
	c.Pool.bind(r)
	c.Access.bind(r)
	c.Keeping.bind(r)
	c.bindTypes(r)
	refuse(r)
	if c.SecurityMode == Permissive {
		c.Warnings = append(c.Warnings,
			"security_mode is permissive: jobs run even where this host cannot enforce their limits")
	}
}

func (c *Config) bindPlaces(r *reader, h host) {
	r.path("data_dir", &c.DataDir)
	r.path("run_dir", &c.RunDir)
	c.Socket = filepath.Join(c.RunDir, "tsubo.sock")
	r.path("socket", &c.Socket)
	if n := len(c.Socket); n > maxSocketPath {
		field := "socket"
		if !r.written(field) {
			field = "run_dir"
		}
		r.fail(field, "the socket's path would have %d bytes, and a Unix socket can have %d: choose a shorter one", n,
			maxSocketPath)
	}
	r.text("socket_group", &c.SocketGroup, 1, 64)
	if !h.groupExists(c.SocketGroup) {
		if r.written("socket_group") {
			r.fail("socket_group",
				"there is no such group on this host: make it with groupadd --system, or name another")
		} else {
			c.Warnings = append(c.Warnings,
				"group "+c.SocketGroup+" does not exist, so that only root can use the socket: groupadd "+
					"--system "+c.SocketGroup)
			c.SocketGroup = ""
		}
	}
	r.path("runsc_path", &c.RunscPath)
	r.text("runsc_sha256", &c.RunscSHA256, 64, 64)
	if c.RunscSHA256 != "" && !sha256RE.MatchString(c.RunscSHA256) {
		r.fail("runsc_sha256", "must be 64 lower-case hex digits: sha256sum prints them")
	}
	r.path("init_path", &c.InitPath)
	r.path("mkfs_erofs_path", &c.MkfsErofsPath)
	r.path("cgroup_parent", &c.CgroupParent)
	if c.CgroupParent == "/" {
		r.fail("cgroup_parent", "must not be the root of the hierarchy: name a cgroup that tsubod may have for itself")
	}
}

// daemonBase is tsubod's memory need besides results and bodies, in bytes.
const daemonBase = 256 * job.MiB

// bindDaemonMemory reads daemon_memory. Each worker may hold a whole result in memory until the
// result is stored.
func (c *Config) bindDaemonMemory(r *reader) {
	least := daemonBase + c.HeldBytes + int64(c.MaxWorkers)*(c.outputs.total+c.outputs.stdout+c.outputs.stderr)
	c.DaemonMemory = max(1024*job.MiB, 2*least)
	r.bytes("daemon_memory", &c.DaemonMemory, daemonBase, 1<<42)
	if c.DaemonMemory < least && r.written("daemon_memory") {
		r.fail("daemon_memory",
			"%d is less than the %d that max_workers, the caps of results and api_memory_bytes ask for: raise this, "+
				"or lower those",
			c.DaemonMemory, least)
	}
}

func (c *Config) bindTimes(r *reader) {
	r.seconds("max_timeout", &c.MaxTimeout, 1, 86400)
	r.seconds("default_timeout", &c.DefaultTimeout, 1, 3600)
	r.seconds("max_startup_timeout", &c.MaxStartupTimeout, 30, 1800)
	r.seconds("default_startup_timeout", &c.DefaultStartupTimeout, 10, 600)
	for _, f := range []struct {
		name, ceiling string
		n, most       time.Duration
	}{
		{"default_timeout", "max_timeout", c.DefaultTimeout, c.MaxTimeout},
		{"default_startup_timeout", "max_startup_timeout", c.DefaultStartupTimeout, c.MaxStartupTimeout},
	} {
		if f.n > f.most {
			r.fail(f.name, "%d is more than %s (%d): lower this, or raise that", int64(f.n/time.Second), f.ceiling,
				int64(f.most/time.Second))
		}
	}
}

func (c *Config) bindImages(r *reader) {
	in := r.section("images")
	if in == nil {
		return
	}
	in.paths("preload_dirs", &c.Images.PreloadDirs)
	in.bytes("max_archive_bytes", &c.Images.MaxArchiveBytes, job.MiB, 1<<40)
	in.unless("registries", notYet("pulling from registries: import images with tsubo images import"), isEmptyList)
	in.close()
}
