package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/store"
	"github.com/tsubo-run/tsubo/tests/need"
)

// fullDir makes this test binary a process that fills a small disk.
const fullDir = "TSUBO_STORE_FULL_DIR"

// A full disk is ErrNoSpace wherever it strikes. Accepted data stays, nothing is half stored, and
// the store works again once there is room. The disk is a tmpfs in a mount namespace of its own.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func fillSmallDisk(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	var accepted []string
	refused := 0
	for n := 0; refused < 5; n++ { // the database fills the disk
		if n > 10_000 {
			return errors.New("the disk never fills")
		}
		rec := &job.Record{ID: fmt.Sprint("job-", n), Caller: "uid:1", Status: job.Queued, Async: true,
			IdempotencyKey: fmt.Sprint("key-", n)}
		_, err := s.Accept(ctx, rec, &job.Request{Code: strings.Repeat("x", 60_000)})
		switch {
		case err == nil:
			accepted = append(accepted, rec.ID)
		case errors.Is(err, store.ErrNoSpace):
			refused++
		default:
			return fmt.Errorf("accept on a full disk: %w, want ErrNoSpace", err)
		}
	}
	first := &job.Record{ID: accepted[0], Status: job.Failed}
	err = s.Finish(ctx, first, []job.Artifact{{Name: "a", Data: bytes.Repeat([]byte("x"), 7<<20)}})
	if !errors.Is(err, store.ErrNoSpace) {
		return fmt.Errorf("an artifact on a full disk: %w, want ErrNoSpace", err)
	}
	if got, err := s.Get(ctx, accepted[0]); err != nil || got.Status != job.Queued {
		return fmt.Errorf("after a refused result: %+v, %w", got, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "data", "artifacts", "tmp")); len(left) > 0 {
		return fmt.Errorf("left of a refused artifact: %v", left)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=40m"); err != nil { // room again
		return err
	}
	if err := s.Finish(ctx, first, []job.Artifact{{Name: "a", Data: bytes.Repeat([]byte("x"), 7<<20)}}); err != nil {
		return fmt.Errorf("once there is room: %w", err)
	}
	for _, id := range accepted {
		if _, err := s.Get(ctx, id); err != nil {
			return fmt.Errorf("accepted and lost: %w", err)
		}
	}
	retry := &job.Record{ID: "again", Caller: "uid:1", Status: job.Queued, Async: true,
		IdempotencyKey: fmt.Sprint("key-", len(accepted))}
	if existing, err := s.Accept(ctx, retry, &job.Request{}); err != nil || existing != nil {
		return fmt.Errorf("the key of a refused submission is burned: %v, %w", existing, err)
	}
	if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
		return err
	}
	fmt.Printf("%d accepted, %d refused\n", len(accepted), refused)
	return nil
}
