package job

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// DefaultType is the job type of requests that name none.
const DefaultType = "default"

// Least that a request may ask for (wire.md section 4 has the same bounds for job types).
const (
	MinMemory = 64 * MiB
	MinCPU    = 0.1
)

// Policy is the part of the configuration about jobs. It is a value: whoever changes it makes a new
// one.
type Policy struct {
	Types map[string]Type // by name; DefaultType is among them

	DefaultTimeout, DefaultStartupTimeout time.Duration // of requests that name no job type
	MaxTimeout, MaxStartupTimeout         time.Duration

	MaxCodeBytes  int64 // of UTF-8
	MaxInputBytes int64 // of input_data as it was sent
}

// Check returns what the policy lacks.
func (p *Policy) Check() error {
	if _, ok := p.Types[DefaultType]; !ok {
		return errors.New("policy: no job type default")
	}
	for _, n := range []int64{
		int64(p.DefaultTimeout), int64(p.DefaultStartupTimeout), int64(p.MaxTimeout), int64(p.MaxStartupTimeout), p.MaxCodeBytes, p.MaxInputBytes,
	} {
		if n <= 0 {
			return errors.New("policy: a limit is not set")
		}
	}
	return nil
}

// Type resolves the job type that a request names, with or without "@version"; "" is DefaultType.
// The error is a *Refusal.
func (p *Policy) Type(ref string) (Type, error) {
	name, _, _ := strings.Cut(ref, "@")
	if ref == "" {
		name = DefaultType
	}
	t, known := p.Types[name]
	if !known {
		return Type{}, Refuse(NotFound, "Job type '%s' not found", name)
	}
	return t, nil
}

// CheckTimeout is the ceiling of a timeout that a request states, nil for none (wire.md 1.1). The
// error is a *Refusal.
func (p *Policy) CheckTimeout(seconds *int64) error {
	if seconds != nil && *seconds > int64(p.MaxTimeout/time.Second) {
		return over("timeout", "max_timeout", p.MaxTimeout)
	}
	return nil
}

// MaxStdin is the most standard input that a sandbox takes, in bytes: frames.MaxStdin.
const MaxStdin = 64 << 20

// Spec is the complete job of a request under this policy: the one way in which a request becomes
// one, when it is submitted, run again, or dispatched after a restart. What the caller wrote is
// checked before anything is looked up, and nothing is clamped. The error is a *Refusal. The Spec
// shares the request's data, which must not be changed while it is in use.
func (p *Policy) Spec(r *Request, id, caller string) (*Spec, error) {
	if err := p.CheckTimeout(r.Timeout); err != nil {
		return nil, err
	}
	if r.StartupTimeout != nil && *r.StartupTimeout > int64(p.MaxStartupTimeout/time.Second) {
		return nil, over("startup_timeout", "max_startup_timeout", p.MaxStartupTimeout)
	}
	t, err := p.Type(r.JobType)
	if err != nil {
		return nil, err
	}
	ref := r.JobType
	s := &Spec{
		ID: id, Caller: caller, Type: t.Name, Image: t.Image, Language: t.Language, Command: t.Command, Preload: t.Preload, Workdir: t.Workdir, CodeFiles: r.CodeFiles,
		Code: r.Code, Args: r.Args, Stdin: r.Stdin, Input: r.Input, Files: r.Files, RawStdout: r.RawStdout, Timeout: t.Timeout, StartupTimeout: t.StartupTimeout,
	}
	if ref == "" {
		ref = DefaultType
		s.Timeout, s.StartupTimeout = p.DefaultTimeout, p.DefaultStartupTimeout
	}
	s.TypeRef = ref + "@latest"
	if r.Timeout != nil {
		s.Timeout = time.Duration(*r.Timeout) * time.Second
	}
	if r.StartupTimeout != nil {
		s.StartupTimeout = time.Duration(*r.StartupTimeout) * time.Second
	}
	switch {
	case s.Timeout > p.MaxTimeout:
		return nil, over("effective timeout", "max_timeout", p.MaxTimeout)
	case s.Timeout <= 0 || s.StartupTimeout <= 0:
		return nil, Refuse(Invalid, "timeout and startup_timeout must be at least 1 second")
	}
	if s.Filename, err = t.filename(r); err != nil {
		return nil, err
	}
	if s.Limits, err = t.limits(r); err != nil {
		return nil, err
	}
	if s.Environment, err = t.environment(r.Environment); err != nil {
		return nil, err
	}
	if n := len(r.Stdin); n > MaxStdin {
		return nil, Refuse(Invalid, "stdin has %d bytes: it must have at most %d; send more as a file", n, MaxStdin)
	}
	if n := sizeOf(r); n > s.Limits.Memory/2 {
		return nil, Refuse(Invalid, "code, input_data, code_files, files and stdin have %d bytes, more than half of the job's memory (%d bytes)", n, s.Limits.Memory)
	}
	s.Requirements = slices.Clone(r.Requirements)
	if t.Image == "" {
		s.Requirements = append(s.Requirements, t.Requirements...)
	}
	return s, nil
}

// Refused is the result of a job that must not run for its requirements, nil for one that may
// (wire.md 5.3).
func (s *Spec) Refused() *Result {
	if len(s.Requirements) == 0 {
		return nil
	}
	r := FailedResult(TypeRuntime, PhaseStartup, RequirementsDisabled)
	r.Stderr = RequirementsDisabled
	return r
}

func over(what, ceiling string, most time.Duration) *Refusal {
	return Refuse(Invalid, "%s must be less than or equal to the configured %s (%d seconds)", what, ceiling, int64(most/time.Second))
}

// DefaultSharedMemory is the size of /dev/shm of a job with so much memory, in bytes, where nobody
// has configured it (ruling 22).
func DefaultSharedMemory(memory int64) int64 { return min(64*MiB, memory/4) }

// limits are the type's with what the request asks for under the type's ceilings. Sizes that the
// memory bounds (ruling 17) follow it down.
func (t *Type) limits(r *Request) (Limits, error) {
	l := t.Limits
	if most := max(t.MaxMemory, l.Memory); r.MemoryLimit != 0 {
		switch {
		case r.MemoryLimit < MinMemory:
			return l, Refuse(Invalid, "memory_limit must be at least %d MiB", int64(MinMemory/MiB))
		case r.MemoryLimit > most:
			return l, Refuse(Invalid, "memory_limit must be less than or equal to what job type '%s' allows (%d MiB)", t.Name, most/MiB)
		}
		if t.SharedMemoryFollows {
			l.SharedMemory = DefaultSharedMemory(r.MemoryLimit)
		}
		if l.SharedMemory > r.MemoryLimit/4 {
			return l, Refuse(Invalid, "memory_limit must be at least %d MiB for job type '%s': a quarter of it must hold its shared memory", 4*l.SharedMemory/MiB, t.Name)
		}
		l.Memory = r.MemoryLimit
		l.Tmp, l.Output = min(l.Tmp, l.Memory/2), min(l.Output, l.Memory/2)
	}
	if most := max(t.MaxCPU, l.CPU); r.CPULimit != 0 {
		switch {
		case !(r.CPULimit >= MinCPU): // also what is not a number
			return l, Refuse(Invalid, "cpu_limit must be at least %g", MinCPU)
		case r.CPULimit > most:
			return l, Refuse(Invalid, "cpu_limit must be less than or equal to what job type '%s' allows (%g)", t.Name, most)
		}
		l.CPU = r.CPULimit
	}
	return l, nil
}

// endings are those of a program's file name, the default's first. A command has its program's file
// where Type.Command expects it.
var endings = map[Language][]string{Python: {".py"}, Node: {".js", ".mjs", ".cjs"}}

// DefaultFilename is the name in /code of a job's code when the request names none (ruling 26).
func DefaultFilename(l Language) string {
	if all := endings[l]; len(all) > 0 {
		return "main" + all[0]
	}
	return "main"
}

// filename is the name of the request's code in /code, checked against the language and against the
// files beside it.
func (t *Type) filename(r *Request) (string, error) {
	name := DefaultFilename(t.Language)
	if r.Filename != "" && r.Filename != name {
		all := endings[t.Language]
		if len(all) == 0 {
			return "", Refuse(Invalid, "filename: job type '%s' runs a command, whose code is always /code/main; leave filename out", t.Name)
		}
		if !slices.ContainsFunc(all, func(end string) bool { return strings.HasSuffix(r.Filename, end) && r.Filename != end }) {
			return "", Refuse(Invalid, "filename: %s must end with %s for job type '%s' (%s)", clip(r.Filename, 64), strings.Join(all, " or "), t.Name, t.Language)
		}
		name = r.Filename
	}
	for _, f := range r.CodeFiles {
		if first, _, _ := strings.Cut(f.Name, "/"); first == name {
			return "", Refuse(Invalid, "code_files: %s is where the program itself lies; rename the file, or the program with filename", clip(f.Name, 64))
		}
	}
	return name, nil
}

func (t *Type) environment(asked map[string]string) (map[string]string, error) {
	if len(asked) == 0 {
		return t.Environment, nil
	}
	all := maps.Clone(t.Environment)
	if all == nil {
		all = make(map[string]string, len(asked))
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if !slices.Contains(t.AllowEnvironment, name) {
			return nil, Refuse(Invalid, "environment: job type '%s' does not let a request set %s", t.Name, clip(name, 64))
		}
		all[name] = asked[name]
	}
	return all, nil
}

func sizeOf(r *Request) int64 {
	n := int64(len(r.Code) + len(r.Input) + len(r.Stdin))
	for _, f := range slices.Concat(r.CodeFiles, r.Files) {
		n += int64(len(f.Data))
	}
	return n
}

var memoryRE = regexp.MustCompile(`^([1-9][0-9]{0,8})([mMgG])$`)

// ParseMemory reads a size with the suffix m or g (wire.md section 4).
func ParseMemory(text string) (int64, error) {
	m := memoryRE.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("must be a whole number with the suffix m or g, such as 512m")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of %d digits: %w", len(m[1]), err)
	}
	if strings.EqualFold(m[2], "g") {
		n *= 1024
	}
	return n * MiB, nil
}

// CheckEnvValue is the value rule of wire.md 5.4.
func CheckEnvValue(value string) error {
	if len(value) > 32768 || strings.ContainsAny(value, "`$\\") || strings.ContainsFunc(value, unicode.IsControl) {
		return errors.New("must have at most 32768 bytes and no control character, backtick, $ or backslash")
	}
	return nil
}
