package rootfs

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/tsubo-run/tsubo/tests/pagecache"
)

func TestReadAhead(t *testing.T) {
	requireErofs(t)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	s, err := Open(filepath.Join(pagecache.Dir(t), "rootfs"), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	root, err := s.BuildTree(t.Context(), "ahead", map[string]GuestFile{"f": {Mode: 0o444, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	pagecache.Evict(t, root.Path)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := root.ReadAhead(ctx); !errors.Is(err, cause) {
		t.Errorf("ReadAhead = %v", err)
	}
	if err := root.ReadAhead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := pagecache.Pages(t, root.Path), pagecache.Size(t, root.Path); got != want {
		t.Errorf("%d pages of %d are in the page cache", got, want)
	}
	if err := (Root{Kind: Directory, Path: "/nowhere"}).ReadAhead(t.Context()); err != nil {
		t.Errorf("of a directory: %v", err)
	}
	if err := (Root{Kind: EROFS, Path: "/nowhere"}).ReadAhead(t.Context()); err == nil {
		t.Error("of nothing: no error")
	}
}
