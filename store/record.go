package store

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// rest holds the fields of a record that no query uses. Every other field of job.Record is a column
// or in table texts; TestEveryFieldIsKept checks that.
type rest struct {
	JobRef          string            `json:"job_ref,omitempty"`
	MaxTries        int               `json:"max_tries,omitempty"`
	DurationMS      *int64            `json:"duration_ms,omitempty"`
	Key             string            `json:"key,omitempty"` // of a synchronous run; shown, but not unique
	CodeHash        string            `json:"code_hash,omitempty"`
	InputHash       string            `json:"input_hash,omitempty"`
	ExitCode        *int              `json:"exit_code,omitempty"`
	StdoutTruncated bool              `json:"stdout_truncated,omitempty"`
	StderrTruncated bool              `json:"stderr_truncated,omitempty"`
	Error           *job.Error        `json:"error,omitempty"`
	Timing          *job.Timing       `json:"timing,omitempty"`
	Usage           *job.Usage        `json:"usage,omitempty"`
	Enforced        *job.Enforced     `json:"enforced,omitempty"`
	Artifacts       []job.ArtifactRef `json:"artifacts,omitempty"`
	InputArtifacts  []job.ArtifactRef `json:"input_artifacts,omitempty"`
	Skipped         []job.Skipped     `json:"skipped,omitempty"`
	ArtifactsNote   string            `json:"artifacts_note,omitempty"`
	OutputError     string            `json:"output_error,omitempty"`
	ClientIP        string            `json:"client_ip,omitempty"`
	CorrelationID   string            `json:"correlation_id,omitempty"`
	ParentID        string            `json:"parent_id,omitempty"`
	Relationship    job.Relationship  `json:"relationship,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
}

// encode returns v as JSON without HTML escapes.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func restOf(r *job.Record) ([]byte, error) {
	keep := rest{
		JobRef: r.JobRef, MaxTries: r.MaxTries, DurationMS: r.DurationMS, CodeHash: r.CodeHash, InputHash: r.InputHash,
		ExitCode:        r.ExitCode,
		StdoutTruncated: r.StdoutTruncated, StderrTruncated: r.StderrTruncated, Error: r.Error, Timing: r.Timing,
		Usage:    r.Usage,
		Enforced: r.Enforced, Artifacts: r.Artifacts, InputArtifacts: r.InputArtifacts, Skipped: r.Skipped,
		ArtifactsNote: r.ArtifactsNote,
		OutputError:   r.OutputError,
		ClientIP:      r.ClientIP, CorrelationID: r.CorrelationID, ParentID: r.ParentID, Relationship: r.Relationship,
		Metadata: r.Metadata,
	}
	if !r.Async {
		keep.Key = r.IdempotencyKey
	}
	b, err := encode(keep)
	if err != nil {
		return nil, fmt.Errorf("encode record %s: %w", r.ID, err)
	}
	return b, nil
}

// columns lists the columns of table records in the order that scanRecord expects.
const columns = `r.id, r.caller, r.status, r.job_type, r.durable, r.attempt, r.worker,
	r.created_at, r.dequeued_at, r.started_at, r.ended_at,
	r.idem_key, r.fingerprint, r.rest`

// scanner is a row of a result.
type scanner interface{ Scan(into ...any) error }

// scanRecord scans columns, and any further columns into after.
func scanRecord(row scanner, after ...any) (*job.Record, error) {
	var (
		r                        job.Record
		worker, key              sql.NullString
		created                  int64
		dequeued, started, ended sql.NullInt64
		raw                      []byte
		keep                     rest
	)
	into := []any{&r.ID, &r.Caller, &r.Status, &r.JobType, &r.Async, &r.Attempt, &worker, &created, &dequeued, &started,
		&ended,
		&key, &r.Fingerprint, &raw}
	if err := row.Scan(append(into, after...)...); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &keep); err != nil {
		return nil, fmt.Errorf("%w: record %s: %w", ErrCorrupt, r.ID, err)
	}
	r.WorkerID, r.IdempotencyKey = worker.String, key.String
	if !key.Valid {
		r.IdempotencyKey = keep.Key
	}
	r.CreatedAt, r.DequeuedAt, r.StartedAt, r.EndedAt = time.Unix(0, created).UTC(), fromNanos(dequeued),
		fromNanos(started), fromNanos(ended)
	r.JobRef, r.MaxTries, r.DurationMS, r.CodeHash, r.InputHash, r.ExitCode = keep.JobRef, keep.MaxTries,
		keep.DurationMS, keep.CodeHash, keep.InputHash, keep.ExitCode
	r.StdoutTruncated, r.StderrTruncated, r.Error, r.Timing, r.Usage = keep.StdoutTruncated, keep.StderrTruncated,
		keep.Error, keep.Timing, keep.Usage
	r.Enforced, r.Artifacts, r.InputArtifacts, r.Skipped, r.ArtifactsNote = keep.Enforced, keep.Artifacts,
		keep.InputArtifacts, keep.Skipped, keep.ArtifactsNote
	r.OutputError = keep.OutputError
	r.ClientIP, r.CorrelationID, r.ParentID, r.Relationship, r.Metadata = keep.ClientIP, keep.CorrelationID,
		keep.ParentID, keep.Relationship, keep.Metadata
	return &r, nil
}

// scanFull scans columns and the texts.
func scanFull(row scanner) (*job.Record, error) {
	var stdout, stderr, output []byte
	r, err := scanRecord(row, &stdout, &stderr, &output)
	if err != nil {
		return nil, err
	}
	r.Stdout, r.Stderr, r.Output = string(stdout), string(stderr), output
	return r, nil
}

func nanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func fromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// insertRecord inserts a record with its labels, texts and request, and returns its seq.
func insertRecord(t *tx, r *job.Record, req *job.Request) (seq int64, err error) {
	keep, err := restOf(r)
	if err != nil {
		return 0, err
	}
	var body, input []byte
	if req != nil {
		if body, input, err = encodeRequest(req); err != nil {
			return 0, fmt.Errorf("encode request of %s: %w", r.ID, err)
		}
	}
	key := orNull(r.IdempotencyKey)
	if !r.Async {
		key = nil
	}
	own := len(keep) + len(r.Stdout) + len(r.Stderr) + len(r.Output) + len(body) + len(input)
	err = t.one(`INSERT INTO records (id, caller, job_type, status, durable, attempt, worker, created_at,
			dequeued_at, started_at, ended_at,
			idem_key, fingerprint, own_bytes, rest) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) RETURNING seq`,
		[]any{r.ID, r.Caller, r.JobType, string(r.Status), r.Async, r.Attempt, orNull(r.WorkerID),
			r.CreatedAt.UnixNano(), nanos(r.DequeuedAt),
			nanos(r.StartedAt), nanos(r.EndedAt), key, r.Fingerprint, own, keep}, &seq)
	if err != nil {
		return 0, fmt.Errorf("insert record %s: %w", r.ID, err)
	}
	if body != nil {
		if _, err := t.exec(`INSERT INTO requests (seq, body, input) VALUES (?,?,?)`, seq, body, input); err != nil {
			return 0, fmt.Errorf("insert request of %s: %w", r.ID, err)
		}
	}
	for name, value := range r.Metadata {
		if _, err := t.exec(`INSERT INTO labels (caller, name, value, created_at, seq) VALUES (?,?,?,?,?)`,
			r.Caller, name, value, r.CreatedAt.UnixNano(), seq); err != nil {
			return 0, fmt.Errorf("insert label of %s: %w", r.ID, err)
		}
	}
	return seq, writeTexts(t, seq, r)
}

func writeTexts(t *tx, seq int64, r *job.Record) error {
	if r.Stdout == "" && r.Stderr == "" && r.Output == nil {
		return nil
	}
	if _, err := t.exec(`INSERT OR REPLACE INTO texts (seq, stdout, stderr, output) VALUES (?,?,?,?)`,
		seq, blob(r.Stdout), blob(r.Stderr), []byte(r.Output)); err != nil {
		return fmt.Errorf("write texts of %s: %w", r.ID, err)
	}
	return nil
}

// blob returns the bytes of s, or nil if s is empty.
func blob(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// encodeRequest encodes the request without its input, which is stored verbatim.
func encodeRequest(req *job.Request) (body, input []byte, err error) {
	slim := *req
	input, slim.Input = req.Input, nil
	body, err = encode(&slim)
	return body, input, err
}

func decodeRequest(body, input []byte) (*job.Request, error) {
	var req job.Request
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	req.Input = input
	return &req, nil
}
