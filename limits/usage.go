package limits

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Events are the leaf's own counts of limits that were hit. Only these counts, and nothing from the
// guest, decide oom and pids_limit.
type Events struct {
	OOM     uint64 // times that memory.max could not be kept by reclaiming
	OOMKill uint64 // processes that the OOM killer ended
	PIDsMax uint64 // forks refused by pids.max
}

// Events reads the counts. It works until the leaf is removed, even after all its processes have
// exited.
func (l *Leaf) Events() (Events, error) {
	m, err := l.d.keyed("memory.events", "oom", "oom_kill")
	if err != nil {
		return Events{}, fmt.Errorf("read events of leaf %s: %w", l.ID, err)
	}
	p, err := l.d.keyed("pids.events", "max")
	if err != nil {
		return Events{}, fmt.Errorf("read events of leaf %s: %w", l.ID, err)
	}
	return Events{OOM: m[0], OOMKill: m[1], PIDsMax: p[0]}, nil
}

// full returns how often the leaf's memory reached memory.max: max and oom of memory.events.
func (l *Leaf) full() (uint64, error) {
	m, err := l.d.keyed("memory.events", "max", "oom")
	if err != nil {
		return 0, fmt.Errorf("read events of leaf %s: %w", l.ID, err)
	}
	return m[0] + m[1], nil
}

// MemoryReached reports whether the leaf's memory reached memory.max since the Baseline. It works
// until the leaf is removed.
func (l *Leaf) MemoryReached() (bool, error) {
	full, err := l.full()
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return full > l.full0, nil
}

// Stat breaks a leaf's memory down by kind.
type Stat struct {
	Own    int64 // anon and shmem: bytes that only the end of processes gives back, as nothing is swapped
	Reread int64 // workingset_refault_file: bytes of files that were read again after the limit had taken them away, in all
}

// Stat reads memory.stat. It works until the leaf is removed.
func (l *Leaf) Stat() (Stat, error) {
	m, err := l.d.keyed("memory.stat", "anon", "shmem", "workingset_refault_file")
	if err != nil {
		return Stat{}, fmt.Errorf("read memory of leaf %s: %w", l.ID, err)
	}
	return Stat{Own: int64(m[0] + m[1]), Reread: int64(m[2]) * int64(os.Getpagesize())}, nil //nolint:gosec // what a machine has
}

// openPeak opens memory.peak for writing if the kernel can reset it, else for reading. A reset
// affects only its own descriptor.
func (l *Leaf) openPeak() {
	f, err := l.d.open("memory.peak", unix.O_RDWR)
	if err != nil {
		f, err = l.d.open("memory.peak", unix.O_RDONLY)
	}
	if err == nil {
		l.peak = f
	}
}

// Baseline restarts the count of Usage at hand-over, so that the boot is not charged to the job.
func (l *Leaf) Baseline() error {
	cpu, err := l.d.keyed("cpu.stat", "usage_usec")
	if err != nil {
		return fmt.Errorf("read usage of leaf %s: %w", l.ID, err)
	}
	full, err := l.full()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cpu0, l.full0 = cpu[0], full
	if l.peak == nil {
		return nil
	}
	_, err = l.peak.WriteString("reset")
	l.fresh = err == nil
	if l.peak0, err = l.readPeak(); err != nil {
		return fmt.Errorf("read usage of leaf %s: %w", l.ID, err)
	}
	return nil
}

// Usage reads the consumption since the Baseline. It works until the leaf is removed, even after
// all its processes have exited.
func (l *Leaf) Usage() (Usage, error) {
	cpu, err := l.d.keyed("cpu.stat", "usage_usec")
	if err != nil {
		return Usage{}, fmt.Errorf("read usage of leaf %s: %w", l.ID, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if cpu[0] < l.cpu0 {
		return Usage{}, fmt.Errorf("cpu.stat of leaf %s went back from %d to %d", l.ID, l.cpu0, cpu[0])
	}
	u := Usage{CPU: time.Duration(cpu[0]-l.cpu0) * time.Microsecond}
	if l.peak == nil {
		return u, nil
	}
	if u.Peak, err = l.readPeak(); err != nil {
		return Usage{}, fmt.Errorf("read usage of leaf %s: %w", l.ID, err)
	}
	u.PeakSinceBaseline = l.fresh || u.Peak > l.peak0
	return u, nil
}

// readPeak reads memory.peak. l.mu must be held and l.peak must be open.
func (l *Leaf) readPeak() (uint64, error) {
	b := make([]byte, 32)
	n, err := unix.Pread(int(l.peak.Fd()), b, 0)
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: l.peak.Name(), Err: err}
	}
	return strconv.ParseUint(strings.TrimSpace(string(b[:n])), 10, 64)
}
