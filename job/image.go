package job

import "time"

// Image is one entry of the catalogue as callers see it.
type Image struct {
	Name      string    `json:"name"`   // "" for an image known by digest only
	Digest    string    `json:"digest"` // manifest digest, "sha256:…"
	Rootfs    string    `json:"rootfs"` // "erofs" or "directory"
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
}

// ImageConfig is what tsubo takes from an image's own configuration; the rest of it (User, Volumes,
// StopSignal…) never counts.
type ImageConfig struct {
	Env        []string // "K=V", checked
	WorkingDir string   // absolute and clean, "/" when unset
}
