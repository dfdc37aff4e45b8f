package store_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/scheduler"
	"github.com/tsubo-run/tsubo/store"
	"github.com/tsubo-run/tsubo/tests/storetest"
)

var _ scheduler.Store = (*store.Store)(nil)

func TestConformance(t *testing.T) {
	storetest.Run(t, storetest.Implementation{
		Open: func(dir string, now func() time.Time) (storetest.Store, error) {
			return store.Open(context.Background(), store.Config{Dir: dir, Now: now})
		},
		Counts: func(s storetest.Store) (accepts, commits int64) {
			n := s.(*store.Store).Stats()
			return n.Accepts, n.Commits
		},
		Restore: func(backup, dir string) error { return exec.Command("tar", "-xf", backup, "-C", dir).Run() },
	})
}
