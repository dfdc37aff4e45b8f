package job

import (
	"encoding/json"
	"time"
)

// Language is how code runs in an image.
type Language string

// Languages of a job type.
const (
	Python  Language = "python"  // a CPython that waits, then executes the code in its own process
	Node    Language = "node"    // a Node.js that waits
	Command Language = "command" // Type.Command, started when the code has arrived
)

// Type is a job type of the configuration: an image and how code runs in it, with defaults and
// ceilings.
type Type struct {
	Name     string
	Image    string // name in the catalogue, or a digest
	Language Language
	Command  []string // argv when Language is Command
	// Preload are modules that the waiting runner imports before it waits, in this order: never for
	// Command. Each sandbox imports them for its one job, as that job's user; one that cannot be
	// imported, writes output, or leaves a thread or a process makes every job of the type fail.
	Preload []string
	// Workdir is the working directory of the job: absolute and clean; "" for /output, and for the
	// image's when Language is Command (ruling 23).
	Workdir        string
	Environment    map[string]string
	Requirements   []string
	PythonVersion  string
	Timeout        time.Duration
	StartupTimeout time.Duration
	Limits         Limits // default, and ceiling where MaxMemory and MaxCPU are 0

	// SharedMemoryFollows makes Limits.SharedMemory follow the memory that a request asks for:
	// nobody has configured it.
	SharedMemoryFollows bool

	MaxMemory int64   // bytes that a request may ask for; 0: Limits.Memory
	MaxCPU    float64 // cores that a request may ask for; 0: Limits.CPU
	// AllowEnvironment names the variables that a request may set; what Environment sets may be
	// among them, and is replaced then.
	AllowEnvironment []string
	// RetryOnInterrupt makes a job run again after a stop or a crash interrupted its run (ruling
	// 4).
	RetryOnInterrupt bool
}

// File is one file of a job, written root-owned and read-only below /input or /code.
type File struct {
	Name string // relative path, checked by CheckFilePath
	Data []byte
}

// Spec is one job, decoded, checked and complete: nothing downstream applies a default.
type Spec struct {
	ID      string // made here, random; the only string of it that may name a kernel object
	Caller  string // stable identity of who asked, e.g. "uid:1000"
	Type    string // resolved name of the job type
	TypeRef string // as asked for, e.g. "default@latest"

	Image       string // image digest, "sha256:…", resolved when the job gets its turn
	Language    Language
	Command     []string
	Preload     []string
	Code        string
	Args        []string
	Stdin       []byte
	Input       json.RawMessage // a JSON object, its numbers as they were sent; written to /input/data.json
	Filename    string          // name of Code's file in /code
	CodeFiles   []File          // below /code
	Files       []File          // below /input
	Workdir     string          // Type.Workdir
	Environment map[string]string
	RawStdout   bool // the bytes of stdout become an artifact (ruling 19)

	// Requirements of the job and, where no image has them, of its type. Nothing installs any: a
	// job that has some is refused when it comes to run (wire.md 5.3).
	Requirements []string

	Timeout        time.Duration // from the code's first byte
	StartupTimeout time.Duration // for boot or hand-over; also the longest that a sync caller waits for a slot
	Limits         Limits
}
