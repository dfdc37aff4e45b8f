package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// reader reads the values of a mapping by name, checks them and collects problems. At the top level
// the environment takes precedence. The typed methods leave the target unchanged if the key is
// unset or invalid.
type reader struct {
	prefix   string // of field paths: "" or "container_limits."
	items    yaml.MapSlice
	env      map[string]string // nil below the top level
	known    []string
	problems *[]error
	warnings []string
	notes    *[]note // keys read, for docs/config.md; nil means not recorded
}

// note describes a key that was read.
type note struct {
	key    string // with its prefix
	preset any    // default
	rule   string // permitted values
}

// note records a key for docs/config.md.
func (r *reader) note(name string, preset any, rule string, args ...any) {
	if r.notes == nil {
		return
	}
	n := len(*r.notes)
	if key := r.prefix + name; n == 0 || (*r.notes)[n-1].key != key { // the first note is the most precise
		*r.notes = append(*r.notes, note{key, preset, fmt.Sprintf(rule, args...)})
	}
}

// ours matches tsubo's variables that are not configuration keys.
var ours = regexp.MustCompile(
	`^TSUBO_(CONFIG|SOCKET|REQUIRE|RUNSC|CACHE|TAGS|VM_.*|TEST_.*|CGROUP_ENTERED|STATE_LOCK_FD)$`)

func newReader(environ []string) *reader {
	r := &reader{env: map[string]string{}, problems: new([]error)}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case strings.HasPrefix(name, "TSUBO_") && value != "":
			r.env[name] = value
		case strings.HasPrefix(name, "TAKO_VM_"):
			r.warnings = append(r.warnings,
				"variable "+name+" has no effect: tsubo reads TSUBO_"+strings.TrimPrefix(name, "TAKO_VM_"))
		}
	}
	return r
}

var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// parse reads YAML whose root is a mapping or empty. Errors contain the position, and no configured
// text except names of keys.
func (r *reader) parse(data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.UseOrderedMap())
	var root, more any
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return yamlError(err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("holds more than one YAML document")
	}
	if root == nil {
		return nil
	}
	items, ok := root.(yaml.MapSlice)
	if !ok {
		return errors.New("must be a mapping of keys to values")
	}
	r.items = items
	return nil
}

func yamlError(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil || y.GetToken().Position == nil {
		return errors.New("is not valid YAML")
	}
	message, at := y.GetMessage(), y.GetToken().Position
	if strings.HasPrefix(message, "mapping key ") {
		message, _, _ = strings.Cut(message, " at [")
	} else {
		message = quoted.ReplaceAllString(message, "…")
	}
	return fmt.Errorf("line %d, column %d: %s", at.Line, at.Column, message)
}

// fail records a problem with the key. The arguments must not contain the configured value, unless
// it is a number.
func (r *reader) fail(name, format string, args ...any) {
	*r.problems = append(*r.problems, fmt.Errorf("field %s%s: "+format, append([]any{r.prefix, name}, args...)...))
}

func variable(name string) string { return "TSUBO_" + strings.ToUpper(name) }

// written reports whether the key is set in the file or the environment.
func (r *reader) written(name string) bool {
	if r.env != nil && r.env[variable(name)] != "" {
		return true
	}
	return r.inFile(name)
}

func (r *reader) inFile(name string) bool {
	return slices.ContainsFunc(r.items, func(i yaml.MapItem) bool { return i.Key == name })
}

// get returns the value of a key: a string from the environment, or the decoded YAML value. An
// empty value in the file is a problem.
func (r *reader) get(name string) (value any, fromEnv, ok bool) {
	r.known = append(r.known, name)
	if r.env != nil {
		if text := r.env[variable(name)]; text != "" {
			return text, true, true
		}
	}
	for _, item := range r.items {
		if item.Key != name {
			continue
		}
		if item.Value == nil {
			r.fail(name, "has no value: give it one, or take it out")
			return nil, false, false
		}
		return item.Value, false, true
	}
	return nil, false, false
}

// done closes the top level and returns the problems.
func (r *reader) done() []error {
	r.close()
	names := make([]string, 0, len(r.env))
	for name := range r.env {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !ours.MatchString(name) && !slices.Contains(r.known, strings.ToLower(strings.TrimPrefix(name, "TSUBO_"))) {
			r.warnings = append(r.warnings, "variable "+name+" has no effect: tsubo knows no such key")
		}
	}
	return *r.problems
}

// close reports keys that no method has read.
func (r *reader) close() {
	for _, item := range r.items {
		name, isText := item.Key.(string)
		switch {
		case !isText:
			r.fail("(a key that is no text)", "unknown key")
		case !slices.Contains(r.known, name):
			r.fail(clip(name), "unknown key%s", r.suggest(name))
		}
	}
}

// suggest returns a hint if a known key differs from name in a single edit.
func (r *reader) suggest(name string) string {
	squeeze := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for _, known := range r.known {
		if squeeze(known) == squeeze(name) || near(known, name) {
			return ": did you mean " + known + "?"
		}
	}
	return ""
}

// near reports whether a single edit turns a into b.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i < len(a) && a[i+1:] == b[i+1:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}

func clip(name string) string {
	name = strings.ToValidUTF8(name, "?")
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}

// section returns a reader for the mapping at name, or nil if it is unset or not a mapping.
func (r *reader) section(name string) *reader {
	value, fromEnv, ok := r.get(name)
	if !ok {
		return nil
	}
	items, isMap := value.(yaml.MapSlice)
	if !isMap || fromEnv {
		r.fail(name, "must be a mapping, in the configuration file")
		return nil
	}
	return &reader{prefix: r.prefix + name + ".", items: items, problems: r.problems, notes: r.notes}
}

func (r *reader) boolean(name string, to *bool) {
	r.note(name, *to, "true or false")
	value, fromEnv, ok := r.get(name)
	if !ok {
		return
	}
	if fromEnv { // wire.md section 4: anything else is false
		text, _ := value.(string)
		*to = slices.Contains([]string{"true", "1", "yes"}, strings.ToLower(text))
		return
	}
	if b, is := value.(bool); is {
		*to = b
		return
	}
	r.fail(name, "must be true or false")
}

// number reads an integer from low to high.
func (r *reader) number(name string, low, high int64) (int64, bool) {
	r.note(name, nil, "%d to %d", low, high)
	value, _, ok := r.get(name)
	if !ok {
		return 0, false
	}
	n, whole := int64(0), true
	switch v := value.(type) {
	case uint64:
		n = int64(min(v, math.MaxInt64))
	case int64:
		n = v
	case float64:
		whole = v == math.Trunc(v) && math.Abs(v) < 1<<53
		n = int64(v)
	case string:
		var err error
		n, err = strconv.ParseInt(v, 10, 64)
		whole = err == nil && r.env != nil && r.env[variable(name)] == v // a string in the file is not a number
	default:
		whole = false
	}
	if !whole || n < low || n > high {
		r.fail(name, "must be a whole number from %d to %d", low, high)
		return 0, false
	}
	return n, true
}

func (r *reader) integer(name string, to *int, low, high int64) {
	r.note(name, *to, "%d to %d", low, high)
	if n, ok := r.number(name, low, high); ok {
		*to = int(n)
	}
}

func (r *reader) unsigned(name string, to *uint64, low, high int64) {
	r.note(name, *to, "%d to %d", low, high)
	if n, ok := r.number(name, low, high); ok {
		*to = uint64(n)
	}
}

func (r *reader) seconds(name string, to *time.Duration, low, high int64) {
	r.note(name, int64(*to/time.Second), "%d to %d seconds", low, high)
	if n, ok := r.number(name, low, high); ok {
		*to = time.Duration(n) * time.Second
	}
}

func (r *reader) cores(name string, to *float64, low, high float64) {
	r.note(name, *to, "%g to %g", low, high)
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	n := math.NaN()
	switch v := value.(type) {
	case uint64:
		n = float64(v)
	case float64:
		n = v
	}
	if !(n >= low && n <= high) {
		r.fail(name, "must be a number from %g to %g", low, high)
		return
	}
	*to = n
}

// word reads one of words, after uniform has normalized the case.
func (r *reader) word(name string, to *string, uniform func(string) string, words ...string) {
	r.note(name, *to, "one of %s", strings.Join(words, ", "))
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	text, is := value.(string)
	if text = uniform(text); !is || !slices.Contains(words, text) {
		r.fail(name, "must be one of %s", strings.Join(words, ", "))
		return
	}
	*to = text
}

func upper(s string) string { return strings.ToUpper(s) }
func lower(s string) string { return strings.ToLower(s) }
func exact(s string) string { return s }

func (r *reader) text(name string, to *string, low, high int) {
	r.note(name, *to, "text of %d to %d bytes", low, high)
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	text, is := value.(string)
	if !is || len(text) < low || len(text) > high || strings.ContainsFunc(text, isControl) {
		r.fail(name, "must be a text of %d to %d bytes without control characters", low, high)
		return
	}
	*to = text
}

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }

// path reads and cleans an absolute path.
func (r *reader) path(name string, to *string) {
	r.note(name, *to, "absolute path")
	value, _, ok := r.get(name)
	if !ok {
		return
	}
	if text, is := value.(string); is && isPath(text) {
		*to = filepath.Clean(text)
		return
	}
	r.fail(name, "must be an absolute path of at most 4095 bytes without control characters")
}

func isPath(text string) bool {
	return filepath.IsAbs(text) && len(text) < 4096 && !strings.ContainsFunc(text, isControl)
}

// list reads the elements of a sequence, comma-separated in the environment.
func (r *reader) list(name string) (elements []any, ok bool) {
	value, fromEnv, ok := r.get(name)
	if !ok {
		return nil, false
	}
	if text, is := value.(string); is && fromEnv {
		for part := range strings.SplitSeq(text, ",") {
			elements = append(elements, strings.TrimSpace(part))
		}
		return elements, true
	}
	elements, is := value.([]any)
	if !is {
		r.fail(name, "must be a list")
	}
	return elements, is
}

func (r *reader) paths(name string, to *[]string) {
	r.note(name, *to, "list of absolute paths")
	elements, ok := r.list(name)
	if !ok {
		return
	}
	all := make([]string, 0, len(elements))
	for i, e := range elements {
		text, is := e.(string)
		if !is || !isPath(text) {
			r.fail(fmt.Sprintf("%s.%d", name, i),
				"must be an absolute path of at most 4095 bytes without control characters")
			continue
		}
		all = append(all, filepath.Clean(text))
	}
	*to = all
}

// texts reads a list of at most most strings, each accepted by check.
func (r *reader) texts(name string, to *[]string, most int, check func(string) error) {
	r.note(name, *to, "list of at most %d texts", most)
	elements, ok := r.list(name)
	if !ok {
		return
	}
	if len(elements) > most {
		r.fail(name, "must have at most %d entries", most)
		return
	}
	all := make([]string, 0, len(elements))
	for i, e := range elements {
		text, is := e.(string)
		if !is {
			r.fail(fmt.Sprintf("%s.%d", name, i), "must be a text")
			continue
		}
		if err := check(text); err != nil {
			r.fail(fmt.Sprintf("%s.%d", name, i), "%w", err)
			continue
		}
		all = append(all, text)
	}
	*to = all
}

func (r *reader) uids(name string, to *[]uint32) {
	r.note(name, *to, "list of numeric uids")
	elements, ok := r.list(name)
	if !ok {
		return
	}
	var all []uint32
	for i, e := range elements {
		n, err := uint64(math.MaxUint64), error(nil)
		switch v := e.(type) {
		case uint64:
			n = v
		case string:
			if n, err = strconv.ParseUint(v, 10, 32); err != nil || r.env == nil || r.env[variable(name)] == "" {
				n = math.MaxUint64
			}
		}
		if n >= math.MaxUint32 { // the maximum is not a valid uid
			r.fail(fmt.Sprintf("%s.%d", name, i), "must be a numeric uid")
			continue
		}
		all = append(all, uint32(n))
	}
	*to = all
}
