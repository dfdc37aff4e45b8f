package job

import (
	"crypto/sha256"
	"encoding/hex"
)

// RawStdoutName is the artifact that holds the bytes of stdout when they are asked for (ruling 19).
const RawStdoutName = "stdout.raw"

// RawStdout is an Observer that keeps the first Limit bytes of stdout as they are, and passes
// everything to the Observer in it.
type RawStdout struct {
	Observer
	Limit int64
	data  []byte
}

// Stdout implements Observer.
func (r *RawStdout) Stdout(p []byte) {
	if room := r.Limit - int64(len(r.data)); room > 0 {
		r.data = append(r.data, p[:min(room, int64(len(p)))]...)
	}
	r.Observer.Stdout(p)
}

// Attach puts what was kept among the artifacts of the run. A file of the job's own with that name
// gives way, and is reported.
func (r *RawStdout) Attach(result *Result) {
	kept := make([]Artifact, 0, len(result.Artifacts)+1)
	for _, a := range result.Artifacts {
		if a.Name == RawStdoutName {
			result.Skipped = append(result.Skipped, Skipped{Name: a.Name, Reason: "the raw output, which was asked for, has this name"})
			continue
		}
		kept = append(kept, a)
	}
	sum := sha256.Sum256(r.data)
	result.Artifacts = append(kept, Artifact{Name: RawStdoutName, Size: int64(len(r.data)), SHA256: hex.EncodeToString(sum[:]), Data: r.data})
}
