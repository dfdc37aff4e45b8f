package limits

import (
	"fmt"
	"strconv"
)

// LimitDaemon limits the memory of the daemon itself, in bytes, and reads the limit back.
func (t *Tree) LimitDaemon(memory int64) (err error) {
	d, err := t.root.sub(daemonDir)
	if err != nil {
		return fmt.Errorf("limit the daemon's memory: %w", err)
	}
	defer d.close()
	want := strconv.FormatInt(pageFloor(memory), 10)
	if err := d.write("memory.max", want); err != nil {
		return fmt.Errorf("limit the daemon's memory: %w", err)
	}
	got, err := d.read("memory.max")
	if err != nil {
		return fmt.Errorf("limit the daemon's memory: %w", err)
	}
	if got != want {
		return &ReadbackError{File: join(d.path, "memory.max"), Want: want, Got: got}
	}
	return nil
}
