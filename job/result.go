package job

import (
	"encoding/json"
	"time"
)

// Status of a job. The zero value is no status.
type Status string

// The statuses of wire.md 1.3. Pending is only a live view of Queued.
const (
	Queued    Status = "queued"
	Pending   Status = "pending"
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	Timeout   Status = "timeout"
	OOM       Status = "oom"
	Cancelled Status = "cancelled"
)

// Terminal reports whether a job in this status is over.
func (s Status) Terminal() bool {
	switch s {
	case Succeeded, Failed, Timeout, OOM, Cancelled:
		return true
	}
	return false
}

// CanBecome is the one transition rule: queued → running → terminal, queued → cancelled or failed,
// and nothing out of a terminal status. Running → Queued is the retry of an infrastructure failure
// or of an interrupted job.
func (s Status) CanBecome(next Status) bool {
	switch s {
	case "":
		return next == Queued
	case Queued:
		return next == Running || next == Cancelled || next == Failed
	case Running:
		return next.Terminal() || next == Queued
	}
	return false
}

// Phase is the part of a run in which it ended.
type Phase string

// Phases of wire.md 1.4.
const (
	PhaseStartup   Phase = "startup"
	PhaseExecution Phase = "execution"
	PhaseCompleted Phase = "completed"
	PhaseFailed    Phase = "failed"
)

// Error is what the caller gets about a job that did not succeed. Message is safe to show:
// sanitised, no host path.
type Error struct {
	Type    ErrorType `json:"type"`
	Message string    `json:"message"`
	Phase   *Phase    `json:"phase"`
}

// Timing of a run in milliseconds (wire.md 1.4, ruling 18): startup without the wait in the queue,
// execution from the code's first byte to its death.
type Timing struct {
	StartupMS    *int64 `json:"startup_ms"`
	DepInstallMS *int64 `json:"dep_install_ms"`
	ExecutionMS  *int64 `json:"execution_ms"`
	TotalMS      *int64 `json:"total_ms"`
	PhaseAtExit  *Phase `json:"phase_at_exit"`
	// Sandbox is where the job's sandbox came from: "hot" (it waited with the runner in it), "warm"
	// (an empty sentry waited) or "cold"; nil when none was reached.
	Sandbox *string `json:"sandbox,omitempty"`
}

// Usage is read from the leaf's own files and counts from hand-over (ruling 18). Null means that
// the kernel has no figure.
type Usage struct {
	MaxRSSMB   *Decimal `json:"max_rss_mb"`
	CPUTimeMS  *int64   `json:"cpu_time_ms"`
	WallTimeMS *int64   `json:"wall_time_ms"`
}

// Enforced is what was in force for one job, as observed, not as configured.
type Enforced struct {
	Runtime      string `json:"runtime"`        // "runsc" or "runc"
	Rootfs       string `json:"rootfs"`         // "erofs" or "directory"
	ReadOnlyRoot bool   `json:"read_only_root"` //
	Seccomp      bool   `json:"seccomp"`        // default-deny profile loaded
	Network      string `json:"network"`        // "none": an empty namespace of its own
	Memory       bool   `json:"memory"`         // memory.max read back
	Swap         bool   `json:"swap"`           // memory.swap.max 0 read back (true also where the host has no swap accounting and no swap)
	CPU          bool   `json:"cpu"`            // cpu.max read back
	PIDs         bool   `json:"pids"`           // pids.max read back
	Devices      bool   `json:"devices"`        // deny-all device filter on the leaf
}

// Artifact is one regular file that the job left at the top of /output.
type Artifact struct {
	Name   string
	Size   int64
	SHA256 string // 64 lower-case hex digits
	Data   []byte
}

// Skipped is an entry of /output that was not kept, and why.
type Skipped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Result is what came of one run. The program's outcome is a value here; a failure of tsubo itself
// is Status Failed with TypeInternal or TypeUnavailable.
type Result struct {
	Status   Status
	ExitCode *int // ruling 7; nil when cancelled
	Error    *Error

	Stdout, Stderr                   string
	StdoutTruncated, StderrTruncated bool

	Output    json.RawMessage // /output/result.json when it holds JSON, else nil
	Artifacts []Artifact
	Skipped   []Skipped
	// OutputError is what is wrong with result.json, and where; "" for nothing.
	OutputError string
	// ArtifactsNote is why artifacts are missing or cut short. "" means that they are complete.
	ArtifactsNote string

	Timing   Timing
	Usage    Usage
	Enforced Enforced

	StartedAt, EndedAt time.Time

	// Cleared is closed once nothing of the job holds anything of the host any more; nil when that
	// is so already.
	Cleared <-chan struct{}
}
