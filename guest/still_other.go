//go:build !amd64

package guest

// still is for amd64 only: elsewhere the runtime's threads stay as they are, which costs time and nothing else: their looks, and sometimes the rest
// of reapMS until init hears of a child.
func still() error { return nil }
