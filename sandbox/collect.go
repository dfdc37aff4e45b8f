package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/job"
)

// collection receives the artifacts that init reports. Init is not trusted: sizes, counts and names
// are checked against the job's limits and against what was announced.
type collection struct {
	limits    job.Limits
	artifacts []job.Artifact
	skipped   []job.Skipped
	names     map[string]bool
	total     int64
	open      *job.Artifact // announced, not yet ended; its Data grows to Size
}

var errCollection = errors.New("artifact frames break the rules")

func (c *collection) take(m frames.Message) error {
	switch m := m.(type) {
	case frames.Artifact:
		return c.begin(m)
	case frames.Content:
		if c.open == nil || int64(len(c.open.Data)+len(m)) > c.open.Size {
			return fmt.Errorf("%w: content that was not announced", errCollection)
		}
		c.open.Data = append(c.open.Data, m...)
		return nil
	case frames.ArtifactEnd:
		return c.end(m.Complete)
	case frames.Skip:
		return c.skip(m.Name, m.Reason.String())
	}
	return fmt.Errorf("%w: frame of type %#x", errCollection, m.Type())
}

func (c *collection) begin(m frames.Artifact) error {
	switch {
	case c.open != nil:
		return fmt.Errorf("%w: an artifact inside an artifact", errCollection)
	case m.Size < 0 || m.Size > c.limits.Artifact || c.total+m.Size > c.limits.ArtifactsTotal:
		return fmt.Errorf("%w: size %d over the caps", errCollection, m.Size)
	}
	if err := c.count(m.Name); err != nil {
		return err
	}
	c.total += m.Size
	c.open = &job.Artifact{Name: m.Name, Size: m.Size, Data: make([]byte, 0, m.Size)}
	return nil
}

// count adds an entry of /output. Each name may appear once.
func (c *collection) count(name string) error {
	if c.names == nil {
		c.names = map[string]bool{}
	}
	if c.names[name] || len(c.names) >= c.limits.Artifacts {
		return fmt.Errorf("%w: entry %d", errCollection, len(c.names)+1)
	}
	c.names[name] = true
	return nil
}

func (c *collection) end(complete bool) error {
	a := c.open
	if a == nil || complete && int64(len(a.Data)) != a.Size {
		return fmt.Errorf("%w: an end without its artifact", errCollection)
	}
	c.open = nil
	switch {
	case !complete:
		c.note(a.Name, "changed_while_read")
	case job.CheckFileName(a.Name) != nil || a.Name[0] == '.':
		c.note(a.Name, "name")
	default:
		sum := sha256.Sum256(a.Data)
		a.SHA256 = hex.EncodeToString(sum[:])
		c.artifacts = append(c.artifacts, *a)
	}
	return nil
}

func (c *collection) skip(name, reason string) error {
	if c.open != nil {
		return fmt.Errorf("%w: a skip inside an artifact", errCollection)
	}
	if err := c.count(name); err != nil {
		return err
	}
	c.note(name, reason)
	return nil
}

// maxSkippedNames limits the skipped entries that a result names. The note covers the rest.
const maxSkippedNames = 100

func (c *collection) note(name, reason string) {
	if len(c.skipped) >= maxSkippedNames {
		return
	}
	if !utf8.ValidString(name) {
		name = strconv.QuoteToASCII(name)
	}
	c.skipped = append(c.skipped, job.Skipped{Name: name, Reason: reason})
}

func (c *collection) finish() error {
	if c.open != nil {
		return fmt.Errorf("%w: the end inside an artifact", errCollection)
	}
	return nil
}
