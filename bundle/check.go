package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mountRule describes the only valid mount at a place.
type mountRule struct {
	types   []string
	options []string // the exact options in order; a tmpfs has size=, mode=, uid= and gid= afterwards
	tmpfs   string   // the options of a tmpfs after size=
}

// allowedMounts has every place where a mount is allowed.
var allowedMounts = map[string]mountRule{
	"/proc":    {types: []string{"proc"}, options: []string{"nosuid", "nodev", "noexec"}},
	"/sys":     {types: []string{"sysfs"}, options: []string{"nosuid", "nodev", "noexec", "ro"}},
	"/dev":     {types: []string{"dev"}, options: []string{"nosuid", "noexec"}},
	"/dev/pts": {types: []string{"devpts"}, options: []string{"nosuid", "noexec"}},
	"/dev/shm": {
		types:   []string{"tmpfs"},
		options: []string{"nosuid", "nodev", "noexec"},
		tmpfs:   "mode=1777 uid=1000 gid=1000",
	},
	"/tmp": {
		types:   []string{"tmpfs"},
		options: []string{"nosuid", "nodev", "noexec"},
		tmpfs:   "mode=1777 uid=0 gid=0",
	},
	"/output": {
		types:   []string{"tmpfs"},
		options: []string{"nosuid", "nodev", "noexec"},
		tmpfs:   "mode=0777 uid=1000 gid=1000",
	},
	"/code": {
		types:   []string{"tmpfs"},
		options: []string{"nosuid", "nodev", "noexec"},
		tmpfs:   "mode=0755 uid=0 gid=0",
	},
	"/input": {
		types:   []string{"tmpfs"},
		options: []string{"nosuid", "nodev", "noexec"},
		tmpfs:   "mode=0755 uid=0 gid=0",
	},
	GuestDir: {types: []string{EROFS, "bind"}, options: []string{"ro", "nosuid", "nodev"}},
}

// Check returns all violations of the rules for a sandbox's configuration, joined. It inspects
// every field of the OCI configuration, and refuses fields that it does not know.
func Check(s *specs.Spec) error {
	if s == nil || s.Process == nil || s.Root == nil || s.Linux == nil {
		return errors.New("configuration: process, root or linux is missing")
	}
	if s.Annotations[annotationContainer] == "sandbox" {
		return checkEmpty(s)
	}
	var c checker
	c.top(s)
	c.process(s.Process)
	c.root(s)
	c.mounts(s.Mounts)
	c.linux(s.Linux)
	if _, added := s.Annotations[annotationContainer]; added {
		c.added(s)
	}
	return errors.Join(c.errs...)
}

// checkEmpty is [Check] for an empty sandbox. Only three values may differ from [Empty]'s result.
func checkEmpty(s *specs.Spec) error {
	var c checker
	c.path(annotationSource, s.Annotations[annotationSource])
	c.cgroup(s.Linux)
	c.filter(s.Linux.Seccomp)
	if len(c.errs) == 0 {
		want := Empty(Tree{Kind: EROFS, Path: s.Annotations[annotationSource]}, s.Linux.CgroupsPath,
			s.Linux.Seccomp.Architectures[0])
		got, errGot := json.Marshal(s)
		exact, errExact := json.Marshal(want)
		if err := errors.Join(errGot, errExact); err != nil || !bytes.Equal(got, exact) {
			c.fail("configuration of an empty sandbox: differs from the required one: %w", err)
		}
	}
	return errors.Join(c.errs...)
}

// added checks what is special about a container that is added to an empty sandbox. It has no
// gofer, so the host serves nothing, and it is in the sandbox's leaf.
func (c *checker) added(s *specs.Spec) {
	if kind := s.Annotations[annotationContainer]; kind != "container" {
		c.fail("annotation %s %q: must be container", annotationContainer, kind)
	}
	if id := s.Annotations[annotationSandbox]; !sandboxID.MatchString(id) {
		c.fail("annotation %s %q: must be a sandbox's id", annotationSandbox, id)
	}
	if s.Annotations[annotationType] != EROFS {
		c.fail("root: must be an EROFS image in an added container")
	}
	for _, m := range s.Mounts {
		if m.Destination == GuestDir && m.Type != EROFS {
			c.fail("mount %s: must be of type %s in an added container", GuestDir, EROFS)
		}
	}
	if s.Linux.CgroupsPath != "" {
		c.fail("linux.cgroupsPath %q: must not be set in an added container", s.Linux.CgroupsPath)
	}
}

// sandboxID matches tsubo's ids.
var sandboxID = regexp.MustCompile(`^[0-9a-f]{30}$`)

type checker struct{ errs []error }

func (c *checker) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// onlySet refuses every non-zero field of the struct v that is not in names.
func (c *checker) onlySet(where string, v any, names ...string) {
	value := reflect.ValueOf(v)
	for i := range value.NumField() {
		name := value.Type().Field(i).Name
		if !value.Field(i).IsZero() && !slices.Contains(names, name) {
			c.fail("%s: %s must not be set", where, name)
		}
	}
}

func (c *checker) top(s *specs.Spec) {
	c.onlySet("configuration", *s, "Version", "Hostname", "Root", "Process", "Mounts", "Linux", "Annotations")
	if s.Hostname != Hostname {
		c.fail("hostname %q: must be %q", s.Hostname, Hostname)
	}
}

func (c *checker) process(p *specs.Process) {
	c.onlySet("process", *p, "User", "Args", "Env", "Cwd", "NoNewPrivileges", "OOMScoreAdj", "Capabilities", "Rlimits")
	c.onlySet("process.user", p.User)
	if !slices.Equal(p.Args, []string{Init}) {
		c.fail("process.args %q: must be %q", p.Args, Init)
	}
	if want := []string{initEnv, initThreads}; !slices.Equal(p.Env, want) {
		c.fail("process.env of %d entries: must be %q", len(p.Env), want)
	}
	if p.Cwd != "/" {
		c.fail("process.cwd %q: must be /", p.Cwd)
	}
	if !p.NoNewPrivileges {
		c.fail("process.noNewPrivileges: must be set")
	}
	if p.OOMScoreAdj == nil || *p.OOMScoreAdj < 0 {
		c.fail("process.oomScoreAdj: must be set and not negative")
	}
	if p.Capabilities == nil {
		c.fail("process.capabilities: missing")
	} else {
		for name, set := range map[string][]string{
			"bounding": p.Capabilities.Bounding, "effective": p.Capabilities.Effective,
			"permitted": p.Capabilities.Permitted,
		} {
			if !slices.Equal(set, capabilities) {
				c.fail("process.capabilities.%s %q: must be exactly init's six", name, set)
			}
		}
		c.onlySet("process.capabilities", *p.Capabilities, "Bounding", "Effective", "Permitted")
	}
	c.rlimits(p.Rlimits)
}

func (c *checker) rlimits(limits []specs.POSIXRlimit) {
	want := map[string]bool{"RLIMIT_NPROC": true, "RLIMIT_NOFILE": true, "RLIMIT_FSIZE": true, "RLIMIT_CORE": false}
	for _, l := range limits {
		positive, ok := want[l.Type]
		delete(want, l.Type)
		switch {
		case !ok:
			c.fail("rlimit %s: unknown or twice", l.Type)
		case positive && l.Soft == 0:
			c.fail("rlimit %s: must not be 0", l.Type)
		case !positive && l.Hard != 0:
			c.fail("rlimit %s %d: must be 0", l.Type, l.Hard)
		case l.Soft > l.Hard:
			c.fail("rlimit %s: soft %d is over hard %d", l.Type, l.Soft, l.Hard)
		case l.Hard > 1<<63-1: // RLIM_INFINITY is 2^64-1
			c.fail("rlimit %s %d: must be a limit", l.Type, l.Hard)
		}
	}
	for name := range want {
		c.fail("rlimit %s: missing", name)
	}
}

// path refuses a host path that is not absolute and clean.
func (c *checker) path(where, path string) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0) {
		c.fail("%s %q: must be an absolute, clean path below /", where, path)
	}
}

func (c *checker) root(s *specs.Spec) {
	if !s.Root.Readonly {
		c.fail("root: must be read-only")
	}
	if len(s.Annotations) == 0 {
		c.path("root.path", s.Root.Path)
		return
	}
	want := []string{annotationSource, annotationType}
	if _, added := s.Annotations[annotationContainer]; added {
		want = append(want, annotationContainer, annotationSandbox)
	}
	if keys := slices.Sorted(maps.Keys(s.Annotations)); !slices.Equal(keys, want) {
		c.fail("annotations %q: must be exactly %q", keys, want)
	}
	if s.Annotations[annotationType] != EROFS {
		c.fail("annotation %s %q: must be %s", annotationType, s.Annotations[annotationType], EROFS)
	}
	c.path(annotationSource, s.Annotations[annotationSource])
	if s.Root.Path != unusedRoot {
		c.fail("root.path %q: must be %q beside an EROFS root", s.Root.Path, unusedRoot)
	}
}

func (c *checker) mounts(mounts []specs.Mount) {
	seen := map[string]bool{}
	for _, m := range mounts {
		where := "mount " + m.Destination
		rule, ok := allowedMounts[m.Destination]
		if !ok || seen[m.Destination] {
			c.fail("%s: not on the list of mounts, or twice", where)
			continue
		}
		seen[m.Destination] = true
		c.onlySet(where, m, "Destination", "Type", "Source", "Options")
		if !slices.Contains(rule.types, m.Type) {
			c.fail("%s: type %q is not allowed", where, m.Type)
		}
		want := rule.options
		switch m.Type {
		case "tmpfs":
			want = append(slices.Clone(rule.options), c.size(where, m.Options))
			want = append(want, strings.Fields(rule.tmpfs)...)
		case "bind":
			want = append(slices.Clone(rule.options), "bind")
		}
		if !slices.Equal(m.Options, want) {
			c.fail("%s: options %q: must be %q", where, m.Options, want)
		}
		if m.Destination == GuestDir {
			c.path(where+": source", m.Source)
		} else if m.Source != m.Type {
			c.fail("%s: source %q: must be %q", where, m.Source, m.Type)
		}
	}
	for _, place := range []string{
		"/proc", "/sys", "/dev", "/dev/pts", "/tmp", "/output", "/code", "/input", GuestDir,
	} {
		if !seen[place] {
			c.fail("mount %s: missing", place)
		}
	}
}

// size returns the size option that a tmpfs must have: a positive number of bytes. For runsc 0
// means unlimited, and no size means half of the host's memory.
func (c *checker) size(where string, options []string) string {
	for _, o := range options {
		if text, ok := strings.CutPrefix(o, "size="); ok {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
				return "size=" + strconv.FormatInt(n, 10)
			}
		}
	}
	c.fail("%s: must have a size of at least one byte", where)
	return "size=?"
}

func (c *checker) linux(l *specs.Linux) {
	c.onlySet("linux", *l, "CgroupsPath", "Namespaces", "Seccomp")
	c.cgroup(l)
	if !slices.Equal(l.Namespaces, namespaces()) {
		c.fail("linux.namespaces %v: must be new pid, ipc, uts, mount and network namespaces", l.Namespaces)
	}
	c.filter(l.Seccomp)
}

func (c *checker) cgroup(l *specs.Linux) {
	if l.CgroupsPath != "" {
		c.path("linux.cgroupsPath", l.CgroupsPath)
	}
}

// filter checks only the frame of the profile: it must exist, deny by default, and contain only
// permissions. Package seccomp checks the rules themselves.
func (c *checker) filter(s *specs.LinuxSeccomp) {
	if s == nil {
		c.fail("linux.seccomp: missing")
		return
	}
	c.onlySet("linux.seccomp", *s, "DefaultAction", "Architectures", "Syscalls")
	if s.DefaultAction != specs.ActErrno {
		c.fail("linux.seccomp.defaultAction %q: must be %s", s.DefaultAction, specs.ActErrno)
	}
	if len(s.Architectures) != 1 || len(s.Syscalls) == 0 {
		c.fail("linux.seccomp: must have one architecture and at least one rule")
	}
	for _, rule := range s.Syscalls {
		// Without a tracer a traced call returns ENOSYS. clone3 must return ENOSYS so that glibc
		// falls back to clone; see package seccomp.
		enosys := rule.Action == specs.ActTrace && slices.Equal(rule.Names, []string{"clone3"}) && len(rule.Args) == 0
		if rule.Action != specs.ActAllow && !enosys {
			c.fail("linux.seccomp: action %q for %q: must be %s", rule.Action, rule.Names, specs.ActAllow)
		}
	}
}
