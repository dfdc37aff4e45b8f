package job

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

type counted struct{ started, out, err int }

func (c *counted) Started()        { c.started++ }
func (c *counted) Stdout(p []byte) { c.out += len(p) }
func (c *counted) Stderr(p []byte) { c.err += len(p) }

func TestRawStdout(t *testing.T) {
	inner := &counted{}
	r := &RawStdout{Observer: inner, Limit: 5}
	r.Started()
	r.Stdout([]byte("a\xff\x00"))
	r.Stderr([]byte("err"))
	r.Stdout([]byte("bcd"))
	r.Stdout([]byte("e"))
	if *inner != (counted{1, 7, 3}) {
		t.Errorf("the observer inside was told %+v", *inner)
	}
	result := &Result{Artifacts: []Artifact{{Name: "a"}, {Name: RawStdoutName, Data: []byte("forged")}}}
	r.Attach(result)
	sum := sha256.Sum256([]byte("a\xff\x00bc"))
	if n := len(result.Artifacts); n != 2 || result.Artifacts[0].Name != "a" || len(result.Skipped) != 1 || result.Skipped[0].Name != RawStdoutName {
		t.Errorf("got %+v", result)
	} else if a := result.Artifacts[1]; a.Name != RawStdoutName || string(a.Data) != "a\xff\x00bc" || a.Size != 5 || a.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("got %+v", a)
	}
}
