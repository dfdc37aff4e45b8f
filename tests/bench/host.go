package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// hostFacts is what of this machine the figures depend on.
func hostFacts() map[string]any {
	facts := map[string]any{"cpus": runtime.NumCPU(), "arch": runtime.GOARCH}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		facts["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		facts["memory_mb"] = uint64(info.Totalram) * uint64(info.Unit) >> 20 //nolint:unconvert // differs between architectures
	}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // shown if it is there
	for line := range strings.Lines(string(cpuinfo)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			facts["cpu"] = strings.TrimSpace(value)
			break
		}
	}
	facts["hardware_virtualisation"] = virtualises(string(cpuinfo))
	facts["load_average_before"] = loadAverage()
	return facts
}

// virtualises tells from /proc/cpuinfo whether the processor can: a /dev/kvm may be there without
// it, and then no guest starts.
func virtualises(cpuinfo string) bool {
	for word := range strings.FieldsSeq(cpuinfo) {
		if word == "vmx" || word == "svm" {
			return true
		}
	}
	return false
}

// loadAverage is that of the last minute: what else the machine was doing.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

// versionOf is the first line that a command prints, "unknown" if it prints none.
func versionOf(ctx context.Context, argv ...string) string {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput() //nolint:gosec // the bench's own commands
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return "unknown"
	}
	return line
}
