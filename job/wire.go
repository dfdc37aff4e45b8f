package job

import "encoding/json"

// The bodies that api writes and client reads. Every key is always present; a nullable one is a
// pointer or raw JSON.

// ExecuteAnswer is the body of POST /execute (wire.md 1.1). The keys after Enforced are tsubo's
// own, too.
type ExecuteAnswer struct {
	Success       bool            `json:"success"`
	Output        json.RawMessage `json:"output"` // what /output/result.json holds, else null
	ExecutionTime Decimal         `json:"execution_time"`
	Stdout        string          `json:"stdout"`
	Stderr        string          `json:"stderr"`
	ExitCode      *int            `json:"exit_code"`
	Error         *string         `json:"error"`
	JobType       *string         `json:"job_type"`
	ExecutionID   *string         `json:"execution_id"`
	Runtime       *string         `json:"runtime"`

	Enforced        Enforced         `json:"enforced"`
	Status          Status           `json:"status"`
	ErrorType       *ErrorType       `json:"error_type"`
	StdoutTruncated bool             `json:"stdout_truncated"`
	StderrTruncated bool             `json:"stderr_truncated"`
	Timing          Timing           `json:"timing"`
	ResourceUsage   Usage            `json:"resource_usage"`
	Artifacts       []ArtifactAnswer `json:"artifacts"`
	// OutputError is what is wrong with result.json and where, null for nothing.
	OutputError *string `json:"output_error"`
	// ArtifactsSkipped and ArtifactsNote list what of /output is not in Artifacts, and why.
	ArtifactsSkipped []Skipped `json:"artifacts_skipped"`
	ArtifactsNote    *string   `json:"artifacts_note"`
}

// ArtifactAnswer is one artifact in an answer (wire.md 1.4). Data is its bytes in base64 when the
// request had "artifacts": "inline", else null.
type ArtifactAnswer struct {
	Name        string  `json:"name"`
	SizeBytes   int64   `json:"size_bytes"`
	SHA256      string  `json:"sha256"`
	ContentType *string `json:"content_type"`
	Data        []byte  `json:"data"`
}

// ArtifactsInline is the one value of the request key "artifacts".
const ArtifactsInline = "inline"

// QueueStats is the body of GET /pool/stats and a part of Health (wire.md 1.11).
type QueueStats struct {
	Pending      int `json:"pending"`
	Running      int `json:"running"`
	MaxWorkers   int `json:"max_workers"`
	MaxQueueSize int `json:"max_queue_size"`
}

// SandboxStats is the body of GET /pool/sandboxes: what waits for jobs now, and how jobs got their
// sandboxes since the daemon started (Timing.Sandbox).
type SandboxStats struct {
	HotWaiting   int    `json:"hot_waiting"`
	WarmWaiting  int    `json:"warm_waiting"`
	Booting      int    `json:"booting"` // ahead, for nobody yet
	WaitingBytes int64  `json:"waiting_bytes"`
	Hot          uint64 `json:"hot"`
	Warm         uint64 `json:"warm"`
	Cold         uint64 `json:"cold"`
}

// Breaker is the state of the launch breaker (wire.md 1.11): State is "closed", "open" or
// "half_open", LastFailure seconds since the epoch.
type Breaker struct {
	State        string   `json:"state"`
	FailureCount int      `json:"failure_count"`
	SuccessCount int      `json:"success_count"`
	LastFailure  *Decimal `json:"last_failure"`
}

// HealthAnswer is the body of GET /health once the daemon serves.
type HealthAnswer struct {
	Status          string     `json:"status"` // "healthy" or "degraded"
	DockerAvailable bool       `json:"docker_available"`
	GVisorAvailable bool       `json:"gvisor_available"`
	CircuitBreaker  Breaker    `json:"circuit_breaker"`
	Version         string     `json:"version"`
	ProductionMode  bool       `json:"production_mode"`
	QueueStats      QueueStats `json:"queue_stats"`
}

// VersionAnswer is the body of GET /version: Extensions names what this daemon has beyond the
// upstream API.
type VersionAnswer struct {
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// ImagesAnswer is the body of GET /images.
type ImagesAnswer struct {
	Items []Image `json:"items"`
	Count int     `json:"count"`
}
