package sandbox

import (
	"sort"
	"strconv"
	"strings"

	"github.com/tsubo-run/tsubo/job"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the job's base environment, sorted (wire.md section 3). The job type's
// variables override the image's, and the image's override the defaults.
func (s Shape) environment() []string {
	env := map[string]string{
		"PATH":           defaultPath,
		"HOME":           "/tmp/home", // created by init
		"XDG_CACHE_HOME": "/tmp/home/.cache",
		"MPLCONFIGDIR":   "/tmp/home/.cache/matplotlib",
	}
	for _, kv := range s.Config.Env {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" && k != "HOME" {
			env[k] = v
		}
	}
	for k, v := range s.Environment {
		env[k] = v
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}

// workingDirectory returns the directory in which the job starts, and whether the image must
// contain that directory.
func (s Shape) workingDirectory() (path string, required bool) {
	switch {
	case s.Workdir != "":
		return s.Workdir, true
	case s.Language == job.Command:
		return s.Config.WorkingDir, false
	}
	return "/output", true
}

// perJob returns the variables that one job adds to the environment of its sandbox, sorted.
func perJob(spec *job.Spec) []string {
	startup := strconv.Itoa(int(spec.StartupTimeout.Seconds()))
	execution := strconv.Itoa(int(spec.Timeout.Seconds()))
	out := []string{
		"TAKO_EXECUTION_TIMEOUT=" + execution, "TAKO_STARTUP_TIMEOUT=" + startup,
		"TSUBO_EXECUTION_TIMEOUT=" + execution, "TSUBO_STARTUP_TIMEOUT=" + startup,
	}
	for k, v := range spec.Environment {
		out = append(out, k+"="+v)
	}
	sort.Strings(out)
	return out
}
