package job

// APIKey is what is shown of an API key: never the key itself, nor its hash.
type APIKey struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Role      string `json:"role"` // "user" or "admin"
	CreatedAt Stamp  `json:"created_at"`
	// ExpiresAt is nil for a key that does not expire.
	ExpiresAt *Stamp `json:"expires_at"`
	// LastUsedAt is nil for a key that was never used.
	LastUsedAt *Stamp `json:"last_used_at"`
}

// NewKeyAnswer is the body of POST /keys: the only time that the key itself is seen.
type NewKeyAnswer struct {
	APIKey
	Key string `json:"key"`
}

// CheckAnswer is the body of GET /check.
type CheckAnswer struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"`
}

// KeysAnswer is the body of GET /keys.
type KeysAnswer struct {
	Items []APIKey `json:"items"`
	Count int      `json:"count"`
}
