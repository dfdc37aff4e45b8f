package job

import (
	"encoding/json"
	"time"
)

// Relationship of a record to its parent.
type Relationship string

// Relationships of wire.md 1.6 and 1.7.
const (
	Rerun Relationship = "rerun"
	Fork  Relationship = "fork"
)

// ArtifactRef is an artifact as a record lists it; its bytes are in the store, found by digest.
type ArtifactRef struct {
	Name        string
	Size        int64
	SHA256      string // 64 lower-case hex digits
	ContentType string // "" for none
}

// Record is what is kept of one job, from its acceptance on (wire.md 2.1). Times are UTC; zero
// means "not yet". A record in a terminal status never changes again.
type Record struct {
	ID       string
	Caller   string // who owns it: nobody else sees it, admins excepted
	Status   Status
	JobType  string // resolved name
	JobRef   string // "<asked for>@latest"
	Async    bool   // accepted by the queue, so durable; false: a synchronous run, recorded afterwards
	Attempt  int    // index of the last attempt, from 0
	MaxTries int

	CreatedAt, DequeuedAt, StartedAt, EndedAt time.Time
	DurationMS                                *int64
	WorkerID                                  string

	IdempotencyKey, Fingerprint string // Fingerprint of wire.md 1.2
	CodeHash, InputHash         string // sha256 in hex (wire.md 2.1)

	ExitCode                         *int
	Stdout, Stderr                   string
	StdoutTruncated, StderrTruncated bool
	Output                           json.RawMessage // nil for none
	Error                            *Error
	Timing                           *Timing
	Usage                            *Usage
	Enforced                         *Enforced
	Artifacts                        []ArtifactRef
	InputArtifacts                   []ArtifactRef // the replay data: _code.py and _input.json
	Skipped                          []Skipped
	ArtifactsNote, OutputError       string

	ClientIP, CorrelationID string
	ParentID                string
	Relationship            Relationship
	Metadata                map[string]string // labels, filterable
}

// Request is what was asked for, as accepted: all that is needed to run the job, now or again
// (ruling 3). It is kept with its record.
type Request struct {
	Code           string            `json:"code"`
	Input          json.RawMessage   `json:"input_data"`
	Timeout        *int64            `json:"timeout"`         // seconds; nil: the job type's
	StartupTimeout *int64            `json:"startup_timeout"` // seconds; nil: the job type's
	JobType        string            `json:"job_type"`        // as asked for, "" for none
	Requirements   []string          `json:"requirements"`
	Filename       string            `json:"filename"` // of the program, "" for the language's default
	CodeFiles      []File            `json:"code_files"`
	Files          []File            `json:"files"`
	Stdin          []byte            `json:"stdin"`
	Args           []string          `json:"args"`
	MemoryLimit    int64             `json:"memory_limit"` // bytes; 0: the job type's
	CPULimit       float64           `json:"cpu_limit"`    // cores; 0: the job type's
	Environment    map[string]string `json:"environment"`
	RawStdout      bool              `json:"raw_stdout"` // the bytes of stdout become an artifact
}

// Filter selects records of a listing; zero fields select all. Limit is 1..1000.
type Filter struct {
	Caller        string // "" for all callers: admins only
	Status        string // compared as it is; an unknown word matches nothing
	JobType       string
	Metadata      map[string]string // every label must match
	Limit, Offset int
}

// DeadLetter is one entry of the dead letter queue (wire.md 2.6). Summary is redacted: hashes and
// sizes, no code, input or key.
type DeadLetter struct {
	ID            int64
	JobID         string
	Caller        string
	Summary       json.RawMessage
	ErrorType     string
	ErrorMessage  string
	RetryCount    int
	CreatedAt     time.Time
	ClientIP      string
	CorrelationID string
}
