package limits

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// ReadbackError reports that a file does not hold the written value, so the limit is not in force.
type ReadbackError struct{ File, Want, Got string }

func (e *ReadbackError) Error() string {
	return fmt.Sprintf("%s reads %q after %q was written", e.File, e.Got, e.Want)
}

// verify reads back every limit of the leaf and remembers the values in force.
func (l *Leaf) verify(s size) error {
	var seen job.Enforced
	read := func(file, want string, in *bool) error {
		got, err := l.d.read(file)
		if err != nil {
			return err
		}
		if *in = got == want; !*in {
			return &ReadbackError{File: l.d.path + "/" + file, Want: want, Got: got}
		}
		return nil
	}
	var group, weighted bool
	errDevices := readDeviceFilter(l.d)
	seen.Devices = errDevices == nil
	err := errors.Join(
		read("memory.max", strconv.FormatInt(s.memory, 10), &seen.Memory),
		read("memory.oom.group", "1", &group),
		read("cpu.max", fmt.Sprintf("%d %d", s.quota, cpuPeriod), &seen.CPU),
		read("cpu.weight", strconv.FormatUint(s.weight, 10), &weighted),
		read("pids.max", strconv.FormatInt(l.boot.PIDsMax(), 10), &seen.PIDs),
		l.verifySwap(read, &seen.Swap),
		errDevices,
	)
	seen.CPU = seen.CPU && weighted
	seen.Memory = seen.Memory && group // without the group, an oom would leave half a sandbox alive
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = seen
	return err
}

// verifySwap accepts a limit of 0. If the kernel has no such limit, it accepts a host without swap.
func (l *Leaf) verifySwap(read func(file, want string, in *bool) error, in *bool) error {
	err := read("memory.swap.max", "0", in)
	if errors.Is(err, unix.ENOENT) {
		if *in = !hostHasSwap(); !*in {
			return errors.New("the host has swap on, and memory.swap.max does not exist to keep the leaf from it")
		}
		return nil
	}
	if err == nil && l.d.has("memory.zswap.max") {
		err = read("memory.zswap.max", "0", in)
	}
	return err
}
