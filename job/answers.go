package job

import (
	"encoding/json"
	"fmt"
	"time"
)

// Stamp is a time on the wire: Python's isoformat() of an aware UTC datetime (wire.md 1.0).
type Stamp time.Time

const (
	isoWhole = "2006-01-02T15:04:05-07:00"
	isoMicro = "2006-01-02T15:04:05.000000-07:00"
)

// StampOf is nil for the zero time.
func StampOf(t time.Time) *Stamp {
	if t.IsZero() {
		return nil
	}
	s := Stamp(t)
	return &s
}

func (s Stamp) String() string {
	t := time.Time(s).UTC().Truncate(time.Microsecond)
	if t.Nanosecond() == 0 {
		return t.Format(isoWhole)
	}
	return t.Format(isoMicro)
}

// MarshalJSON implements json.Marshaler.
func (s Stamp) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Stamp) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	t, err := time.Parse(isoWhole, text) // takes a fraction, too
	if err != nil {
		return fmt.Errorf("time stamp: %w", err)
	}
	*s = Stamp(t)
	return nil
}

// SubmitAnswer is the body of POST /execute/async, rerun and fork.
type SubmitAnswer struct {
	JobID  string `json:"job_id"`
	Status Status `json:"status"`
}

// StatusAnswer is the body of GET /jobs/{id} (wire.md 1.3).
type StatusAnswer struct {
	JobID         string `json:"job_id"`
	Status        Status `json:"status"`
	CreatedAt     *Stamp `json:"created_at"`
	DurationMS    *int64 `json:"duration_ms"`
	QueuePosition *int   `json:"queue_position"`
}

// ProgressAnswer is the body of GET /jobs/{id}/result for a job of which there is no record yet.
type ProgressAnswer struct {
	JobID         string `json:"job_id"`
	Status        Status `json:"status"`
	Message       string `json:"message"`
	QueuePosition *int   `json:"queue_position"`
}

// RecordAnswer is a record as it is shown when no view is asked for (wire.md 1.4).
type RecordAnswer struct {
	ExecutionID string          `json:"execution_id"`
	Status      Status          `json:"status"`
	JobType     string          `json:"job_type"`
	JobVersion  string          `json:"job_version"`
	CreatedAt   *Stamp          `json:"created_at"`
	StartedAt   *Stamp          `json:"started_at"`
	EndedAt     *Stamp          `json:"ended_at"`
	DurationMS  *int64          `json:"duration_ms"`
	ExitCode    *int            `json:"exit_code"`
	Stdout      string          `json:"stdout"`
	Stderr      string          `json:"stderr"`
	Output      json.RawMessage `json:"output"`
	Error       *Error          `json:"error"`
	Timing      *Timing         `json:"timing"`
	Runtime     *string         `json:"runtime"`
}

// FileAnswer is one entry of a manifest (wire.md 1.4).
type FileAnswer struct {
	Name        string  `json:"name"`
	SizeBytes   int64   `json:"size_bytes"`
	SHA256      string  `json:"sha256"`
	ContentType *string `json:"content_type"`
}

// FullAnswer is a record with view=full: the keys of RecordAnswer and more. Those from Metadata on
// are tsubo's own.
type FullAnswer struct {
	RecordAnswer
	JobRef            string        `json:"job_ref"`
	Artifacts         []FileAnswer  `json:"artifacts"`
	InputArtifacts    []FileAnswer  `json:"input_artifacts"`
	ResourceUsage     *Usage        `json:"resource_usage"`
	CodeHash          *string       `json:"code_hash"`
	InputHash         *string       `json:"input_hash"`
	ParentExecutionID *string       `json:"parent_execution_id"`
	Relationship      *Relationship `json:"relationship"`
	StdoutTruncated   bool          `json:"stdout_truncated"`
	StderrTruncated   bool          `json:"stderr_truncated"`
	IdempotencyKey    *string       `json:"idempotency_key"`

	Metadata         map[string]string `json:"metadata"`
	Enforced         *Enforced         `json:"enforced"`
	ArtifactsSkipped []Skipped         `json:"artifacts_skipped"`
	ArtifactsNote    *string           `json:"artifacts_note"`
	OutputError      *string           `json:"output_error"` // what is wrong with result.json and where
}

// Page is one page of a listing; Items are in the order of the listing.
type Page[T any] struct {
	Items   []T  `json:"items"`
	Limit   int  `json:"limit"`
	Offset  int  `json:"offset"`
	HasMore bool `json:"has_more"`
	Count   int  `json:"count"`
}

// TypeAnswer is one job type (wire.md 1.10).
type TypeAnswer struct {
	Name           string   `json:"name"`
	Requirements   []string `json:"requirements"`
	PythonVersion  string   `json:"python_version"`
	MemoryLimit    string   `json:"memory_limit"`
	CPULimit       Decimal  `json:"cpu_limit"`
	Timeout        int64    `json:"timeout"`
	SessionEnabled bool     `json:"session_enabled"`
	GPUEnabled     bool     `json:"gpu_enabled"`
	GPUVendor      *string  `json:"gpu_vendor"`
	ImageExists    bool     `json:"image_exists"`

	// How code runs, and every bound that a job can meet, in bytes and seconds. Image and Command
	// are null where there is none.
	Language       Language `json:"language"`
	Command        []string `json:"command"`
	Workdir        *string  `json:"workdir"` // null for the default: /output, or the image's for a command
	Image          *string  `json:"image"`
	StartupTimeout int64    `json:"startup_timeout"`
	Caps           TypeCaps `json:"caps"`
}

// TypeCaps is every bound of a job type's jobs. Memory, CPU and the timeouts are the most that a
// request may ask for.
type TypeCaps struct {
	MaxMemory         int64   `json:"max_memory_bytes"`
	MaxCPU            Decimal `json:"max_cpu"`
	MaxTimeout        int64   `json:"max_timeout"`
	MaxStartupTimeout int64   `json:"max_startup_timeout"`
	Code              int64   `json:"code_bytes"`
	Input             int64   `json:"input_bytes"`
	Payload           int64   `json:"payload_bytes"`
	Stdout            int64   `json:"stdout_bytes"`
	Stderr            int64   `json:"stderr_bytes"`
	Artifact          int64   `json:"artifact_bytes"`
	ArtifactsTotal    int64   `json:"artifacts_total_bytes"`
	Artifacts         int     `json:"artifacts"`
	Tmp               int64   `json:"tmp_bytes"`
	Output            int64   `json:"output_bytes"`
	SharedMemory      int64   `json:"shared_memory_bytes"`
	FSize             uint64  `json:"file_bytes"`
	Tasks             uint64  `json:"tasks"`
	NoFile            uint64  `json:"open_files"`
}

// DeadAnswer is one entry of the dead letter queue (wire.md 2.6).
type DeadAnswer struct {
	ID            int64           `json:"id"`
	JobID         string          `json:"job_id"`
	JobData       json.RawMessage `json:"job_data"`
	ErrorType     string          `json:"error_type"`
	ErrorMessage  string          `json:"error_message"`
	RetryCount    int             `json:"retry_count"`
	CreatedAt     *Stamp          `json:"created_at"`
	ClientIP      *string         `json:"client_ip"`
	CorrelationID *string         `json:"correlation_id"`
}

// DeadStatsAnswer is the body of GET /dlq/stats.
type DeadStatsAnswer struct {
	Total       int            `json:"total"`
	ByErrorType map[string]int `json:"by_error_type"`
}

// RemovedAnswer is the body of DELETE /dlq/{entry_id}.
type RemovedAnswer struct {
	Status  string `json:"status"` // "removed"
	EntryID int64  `json:"entry_id"`
}

// CancelAnswer is the body of POST /jobs/{id}/cancel.
type CancelAnswer struct {
	Status Status `json:"status"`
	JobID  string `json:"job_id"`
}
