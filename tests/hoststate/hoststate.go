// Package hoststate counts what a running tsubod holds on its host, from outside of it, so that a
// test can compare before and after and show that nothing leaked.
package hoststate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/tests/procs"
)

// State is one count. Every field is read from the kernel or the file system, none from the
// daemon's own word.
type State struct {
	Processes  int `json:"processes"`   // runsc commands, sandboxes and gofers, zombies included
	Leaves     int `json:"leaves"`      // cgroups below the daemon's jobs/
	Namespaces int `json:"namespaces"`  // network namespaces held by a process or by a descriptor of the daemon
	Mounts     int `json:"mounts"`      // mounts in the daemon's own mount namespace
	RunscFiles int `json:"runsc_files"` // entries of runsc's state directory
	Bundles    int `json:"bundles"`     // entries of the sandbox run directory
	FDs        int `json:"fds"`         // descriptors of the daemon
}

// Where reports where a daemon keeps what Take counts.
type Where struct {
	PID      int    // of tsubod
	RunDir   string // e.g. /run/tsubo
	JobsPath string // host path of the cgroup that holds the leaves; "" on a host without cgroup v2
	// Own leaves out what is not below the daemon, for a host on which there are other daemons: of
	// processes and of their namespaces, those count whose ancestor it is, and runsc's of its run
	// directory, whoever has them now.
	Own bool
}

// Take counts once.
func Take(w Where) (State, error) {
	var s State
	netns := map[string]bool{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return s, fmt.Errorf("list processes: %w", err)
	}
	mine := func(int) bool { return true }
	if w.Own {
		if mine, err = ownProcesses(w); err != nil {
			return s, err
		}
	}
	for _, p := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(p)); err != nil || !mine(pid) {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(p, "comm"))
		if err != nil {
			continue // it ended meanwhile
		}
		if name := strings.TrimSpace(string(comm)); strings.HasPrefix(name, "runsc") || name == "exe" {
			s.Processes++
		}
		if ns, err := os.Readlink(filepath.Join(p, "ns/net")); err == nil {
			netns[ns] = true
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.PID))
	if err != nil {
		return s, fmt.Errorf("list descriptors of the daemon: %w", err)
	}
	s.FDs = len(fds)
	for _, fd := range fds {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", w.PID, fd.Name()))
		if err == nil && strings.HasPrefix(link, "net:[") {
			netns[link] = true
		}
	}
	s.Namespaces = len(netns)
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", w.PID))
	if err != nil {
		return s, fmt.Errorf("read the daemon's mounts: %w", err)
	}
	s.Mounts = strings.Count(string(mounts), "\n")
	if w.JobsPath != "" {
		s.Leaves = countDirs(w.JobsPath)
	}
	s.RunscFiles = countEntries(filepath.Join(w.RunDir, "runsc"))
	s.Bundles = countEntries(filepath.Join(w.RunDir, "sandboxes"))
	return s, nil
}

// ownProcesses reports which processes are the daemon's.
func ownProcesses(w Where) (func(pid int) bool, error) {
	all, err := procs.List()
	if err != nil {
		return nil, err
	}
	own := map[int]bool{}
	for _, p := range procs.Tree(all, w.PID) {
		own[p.PID] = true
	}
	for _, p := range all {
		if slices.Contains(procs.Args(p.PID), "--root="+filepath.Join(w.RunDir, "runsc")) {
			own[p.PID] = true
		}
	}
	return func(pid int) bool { return own[pid] }, nil
}

func countDirs(dir string) int {
	n := 0
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			n++
		}
	}
	return n
}

func countEntries(dir string) int {
	entries, _ := os.ReadDir(dir)
	return len(entries)
}

// Grown names every count of now that is above before, sorted, e.g. "leaves 0 → 2"; empty when
// nothing leaked. slackFDs descriptors more are no leak: idle connections and the stock of
// namespaces come and go.
func Grown(before, now State, slackFDs int) []string {
	var out []string
	for name, v := range map[string][3]int{
		"processes":   {before.Processes, now.Processes, 0},
		"leaves":      {before.Leaves, now.Leaves, 0},
		"namespaces":  {before.Namespaces, now.Namespaces, 0},
		"mounts":      {before.Mounts, now.Mounts, 0},
		"runsc files": {before.RunscFiles, now.RunscFiles, 0},
		"bundles":     {before.Bundles, now.Bundles, 0},
		"descriptors": {before.FDs, now.FDs, slackFDs},
	} {
		if v[1] > v[0]+v[2] {
			out = append(out, name+" "+strconv.Itoa(v[0])+" → "+strconv.Itoa(v[1]))
		}
	}
	sort.Strings(out)
	return out
}

// Settle takes counts until nothing is above before, or until the deadline, and returns the last
// count.
func Settle(w Where, before State, slackFDs int, within time.Duration) (State, error) {
	deadline := time.Now().Add(within)
	for {
		now, err := Take(w)
		if err != nil || len(Grown(before, now, slackFDs)) == 0 || time.Now().After(deadline) {
			return now, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}
