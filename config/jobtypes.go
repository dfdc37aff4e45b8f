package config

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tsubo-run/tsubo/job"
)

const (
	defaultType   = "default"
	defaultImage  = "python"
	nodeImage     = "node"
	defaultMemory = 512 * job.MiB
)

var (
	pythonRE = regexp.MustCompile(`^3\.(8|9|1[0-9])$`)
	digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// bindTypes reads job_types. The built-in type "default" can be replaced.
func (c *Config) bindTypes(r *reader) {
	c.types = map[string]job.Type{}
	r.note("job_types", []string{}, "list of job types, below")
	elements, ok := r.list("job_types")
	if !ok {
		elements = nil
	}
	for i, e := range elements {
		items, is := e.(yaml.MapSlice)
		if !is {
			r.fail(fmt.Sprintf("job_types.%d", i), "must be a mapping")
			continue
		}
		in := &reader{prefix: fmt.Sprintf("job_types.%d.", i), items: items, problems: r.problems, notes: r.notes}
		t, ok := c.bindType(in)
		in.close()
		if !ok {
			continue
		}
		if _, twice := c.types[t.Name]; twice {
			in.fail("name", "is the name of an earlier job type, too")
		}
		c.types[t.Name] = t
	}
	if _, replaced := c.types[defaultType]; !replaced {
		c.types[defaultType] = job.Type{
			Name: defaultType, Image: defaultImage, Language: job.Python, Timeout: c.DefaultTimeout,
			StartupTimeout:      c.DefaultStartupTimeout,
			SharedMemoryFollows: true,
			Limits: c.limits.of(&reader{prefix: "job_types.default (built in).", problems: r.problems},
				c.outputs, defaultMemory, 1),
		}
		if defaultMemory+sentryRoom > c.MemoryBudget {
			r.fail("memory_budget",
				"%d bytes do not hold one job of the built-in type default (%d bytes with its sandbox): "+
					"raise it, or write a job type default with a lower memory_limit", c.MemoryBudget,
				defaultMemory+sentryRoom)
		}
	}
}

func (c *Config) bindType(in *reader) (job.Type, bool) {
	before := len(*in.problems)
	t := job.Type{Image: defaultImage, Language: job.Python, Timeout: 30 * time.Second,
		StartupTimeout: 120 * time.Second}
	if !in.written("name") {
		in.fail("name", "is missing")
	}
	in.text("name", &t.Name, 1, 64)
	if t.Name != "" && job.CheckTypeName(t.Name) != nil {
		in.fail("name", "must be 1 to 64 of [a-zA-Z0-9_-]")
	}

	in.text("image", &t.Image, 1, 255)
	if !digestRE.MatchString(t.Image) && job.CheckImageName(t.Image) != nil {
		in.fail("image", "must be the name of an image (1 to 255 of a-z, 0-9 and single . _ - / : between them) or a "+
			"digest sha256:<64 hex digits>")
	}
	in.texts("requirements", &t.Requirements, job.MaxRequirements, checkRequirement)
	if len(t.Requirements) > 0 && !in.written("image") {
		// No image has the requirements and nothing installs them: such jobs are refused (wire.md
		// 5.3).
		t.Image = ""
	}
	c.bindLanguage(in, &t)
	in.environment("environment", &t.Environment)

	memory, cpu := int64(defaultMemory), 1.0
	in.memory("memory_limit", &memory)
	in.cores("cpu_limit", &cpu, 0.1, 16)
	in.seconds("timeout", &t.Timeout, 1, 3600)
	in.seconds("startup_timeout", &t.StartupTimeout, 10, 600)
	for _, f := range []struct {
		name, ceiling string
		n, most       time.Duration
	}{{"timeout", "max_timeout", t.Timeout, c.MaxTimeout},
		{"startup_timeout", "max_startup_timeout", t.StartupTimeout, c.MaxStartupTimeout}} {
		if f.n > f.most {
			in.fail(f.name, "%d is more than %s (%d): lower this, or raise that", int64(f.n/time.Second), f.ceiling,
				int64(f.most/time.Second))
		}
	}
	if memory+sentryRoom > c.MemoryBudget {
		in.fail("memory_limit",
			"%d bytes and %d for the sandbox are more than memory_budget (%d): such a job could never run", memory,
			int64(sentryRoom), c.MemoryBudget)
	}
	t.Limits = c.limits.of(in, c.outputs, memory, cpu)
	c.bindCeilings(in, &t, memory, cpu)
	refuseInType(in)
	return t, len(*in.problems) == before
}

// bindLanguage reads the keys that select how code runs in the image.
func (c *Config) bindLanguage(in *reader, t *job.Type) {
	in.texts("command", &t.Command, 256, checkArgument)
	language := string(job.Python)
	if len(t.Command) > 0 {
		language = string(job.Command)
	}
	in.word("language", &language, exact, string(job.Python), string(job.Node), string(job.Command))
	t.Language = job.Language(language)
	if t.Language == job.Node && t.Image == defaultImage && !in.written("image") {
		t.Image = nodeImage
	}
	switch {
	case t.Language == job.Command && len(t.Command) == 0:
		in.fail("command", "is missing: language command needs the program and its arguments")
	case t.Language != job.Command && len(t.Command) > 0:
		in.fail("command", "is only for language: command")
	case len(t.Command) > 0 && t.Command[0] == "":
		in.fail("command.0", "must be the program's name")
	}
	bindPreload(in, t)
	in.text("workdir", &t.Workdir, 1, 4096)
	if t.Workdir != "" && (!path.IsAbs(t.Workdir) || path.Clean(t.Workdir) != t.Workdir ||
		strings.ContainsRune(t.Workdir, 0)) {
		in.fail("workdir", "must be an absolute path without . and .. and without a slash at its end, such as /output")
	}
	in.text("python_version", &t.PythonVersion, 1, 8)
	switch {
	case t.PythonVersion == "":
		t.PythonVersion = "3.11"
	case !pythonRE.MatchString(t.PythonVersion):
		in.fail("python_version", "must be 3.8 to 3.19")
	case t.PythonVersion != "3.11" && !in.written("image"):
		in.fail("python_version", "the built-in image has Python 3.11: name an image that has this one, with image")
	}
}

// bindPreload reads the modules that the waiting interpreter imports before it gets a job. The
// import is part of the boot, within startup_timeout. Output of a module would appear in every job,
// and threads or processes that it leaves would run into every job. A module that does either, or
// that is not in the image, fails the type's jobs with config_error.
func bindPreload(in *reader, t *job.Type) {
	if in.written("preload") && t.Language == job.Command {
		in.fail("preload", "is only for languages whose interpreter waits: python and node")
		return
	}
	in.texts("preload", &t.Preload, job.MaxPreload, func(name string) error {
		if job.CheckModule(t.Language, name) != nil {
			return errors.New(
				"must be the name of a module as an import has it (for python words with dots between them), at most " +
					"200 bytes, and no path")
		}
		return nil
	})
	for i, name := range t.Preload {
		if slices.Contains(t.Preload[:i], name) {
			in.fail(fmt.Sprintf("preload.%d", i), "is listed twice")
		}
	}
}

func checkRequirement(r string) error {
	if job.CheckRequirement(r) != nil {
		return errors.New("must be a package name with optional [extras] and version bounds, without spaces, URLs or " +
			"markers")
	}
	return nil
}

func checkArgument(a string) error {
	if strings.ContainsRune(a, 0) || len(a) > 4096 {
		return errors.New("must be a text of at most 4096 bytes without NUL")
	}
	return nil
}

// memory reads a size with the suffix m or g, as upstream does.
func (r *reader) memory(name string, to *int64) {
	r.note(name, *to, "size from 64m to 32g with the suffix m or g")
	if value, _, ok := r.get(name); ok {
		text, is := value.(string)
		n, good := parseSize(text)
		if !is || !good || !strings.ContainsAny(text[len(text)-1:], "mMgG") || n < 64*job.MiB || n > 32<<30 {
			r.fail(name, "must be a size from 64m to 32g with the suffix m or g")
			return
		}
		*to = n
	}
}

// environment reads variables by wire.md 5.4, but refuses invalid entries instead of dropping them.
func (r *reader) environment(name string, to *map[string]string) {
	r.note(name, *to, "mapping of names to texts")
	in := r.section(name)
	if in == nil {
		return
	}
	all := make(map[string]string, len(in.items))
	for _, item := range in.items {
		key, is := item.Key.(string)
		if !is || job.CheckEnvKey(key) != nil {
			r.fail(name, "holds a name that is none: must match [A-Za-z_][A-Za-z0-9_]*, at most 256 bytes")
			continue
		}
		value, is := item.Value.(string)
		if !is || len(value) > 32768 || strings.ContainsFunc(value, isControl) || strings.ContainsAny(value, "`$\\") {
			in.fail(key,
				"must be a text (in quotes) of at most 32768 bytes "+
					"without control characters, backtick, $ and backslash")
			continue
		}
		all[key] = value
	}
	*to = all
}
