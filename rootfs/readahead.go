package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadAhead reads an image once, so that its pages lie in the page cache and are charged to the
// caller's cgroup; a Directory is left as it is. Otherwise they are charged to the sandbox that
// touches them first, which at its memory limit loses them and reads them again, over and over,
// where it should have been ended (cgroup v2, "Memory Ownership"). It ends early, with ctx's cause,
// when ctx does.
func (r Root) ReadAhead(ctx context.Context) error {
	if r.Kind != EROFS {
		return nil
	}
	f, err := os.OpenFile(r.Path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("read root ahead: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, 256<<10)
	for ctx.Err() == nil {
		switch _, err := f.Read(b); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read root ahead: %w", err)
		}
	}
	return context.Cause(ctx)
}
