//go:build tools

// Package runc pins the runc that permissive mode may fall back to.
package runc

import _ "github.com/opencontainers/runc"
