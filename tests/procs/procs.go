// Package procs reads from /proc what a process and all that it has started have cost: for programs
// that measure a daemon from outside.
package procs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is USER_HZ, the unit of the times in /proc/PID/stat on every architecture that tsubo runs
// on.
const tick = 10 * time.Millisecond

// Process is one process as it was when it was looked at.
type Process struct {
	PID, Parent int
	Name        string
	CPU         time.Duration // its own, and that of its children that it has collected
}

// List returns every process there is, without those that ended meanwhile.
func List() ([]Process, error) {
	f, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]Process, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", name, "stat"))
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, stat); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// parseStat reads proc_pid_stat(5). The name may hold anything, so what follows is counted from its
// closing parenthesis.
func parseStat(pid int, stat []byte) (Process, bool) {
	from, to := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if from < 0 || to < from {
		return Process{}, false
	}
	p := Process{PID: pid, Name: string(stat[from+1 : to])}
	fields := strings.Fields(string(stat[to+1:]))
	if len(fields) < 15 { // state ppid … utime(12th) stime cutime cstime
		return Process{}, false
	}
	var err error
	if p.Parent, err = strconv.Atoi(fields[1]); err != nil {
		return Process{}, false
	}
	for _, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return Process{}, false
		}
		p.CPU += time.Duration(n) * tick
	}
	return p, true
}

// Tree returns root and everything below it.
func Tree(all []Process, root int) []Process {
	children := make(map[int][]Process, len(all))
	var tree []Process
	for _, p := range all {
		if p.PID == root {
			tree = append(tree, p)
		} else {
			children[p.Parent] = append(children[p.Parent], p)
		}
	}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i].PID]...)
	}
	return tree
}

// CPU is the time that a tree has used since its root began: of what lives, and of what was
// collected within it. It never falls as long as everything that ends is collected within the tree.
func CPU(tree []Process) time.Duration {
	var sum time.Duration
	for _, p := range tree {
		sum += p.CPU
	}
	return sum
}

// Args is the command line of a process, empty for one that has ended or has none.
func Args(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// PSS is the proportional set size of a process in bytes: shared pages count by the share. It needs
// root for another user's process.
func PSS(pid int) (int64, error) {
	return kilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
}

// RSS is the resident set size of a process in bytes.
func RSS(pid int) (int64, error) { return kilobytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

func kilobytes(file, key string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read memory of a process: %w", err)
	}
	return parseKilobytes(string(data), key)
}

func parseKilobytes(text, key string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read memory of a process: %w", err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("read memory of a process: no %q", key)
}
