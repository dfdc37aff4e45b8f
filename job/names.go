package job

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	idRE       = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)
	typeNameRE = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	envKeyRE   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)
)

// CheckID is wire.md 5.1.
func CheckID(id string) error {
	if !idRE.MatchString(id) {
		return errors.New("Execution ID must be 1-64 chars of [A-Za-z0-9._-], not starting with a dot") //nolint:staticcheck // the wire's own sentence
	}
	return nil
}

// CheckTypeName is the name rule of a job type (wire.md section 4).
func CheckTypeName(name string) error {
	if !typeNameRE.MatchString(name) {
		return fmt.Errorf("job type name of %d bytes: must be 1..64 of [a-zA-Z0-9_-]", len(name))
	}
	return nil
}

// CheckEnvKey is the key rule of wire.md 5.4.
func CheckEnvKey(key string) error {
	if !envKeyRE.MatchString(key) {
		return fmt.Errorf("environment name of %d bytes: must match %s", len(key), envKeyRE)
	}
	return nil
}

// CheckFileName is the rule for one path element that a caller or a job chooses: 1..255 bytes,
// UTF-8, no separator, no NUL, not "." or "..".
func CheckFileName(name string) error {
	switch {
	case name == "":
		return errors.New("empty file name")
	case len(name) > 255:
		return fmt.Errorf("file name of %d bytes: at most 255", len(name))
	case name == "." || name == "..":
		return errors.New(`file name must not be "." or ".."`)
	case strings.ContainsAny(name, "/\\\x00"):
		return errors.New("file name must not contain /, \\ or NUL")
	case !utf8.ValidString(name):
		return errors.New("file name must be UTF-8")
	}
	return nil
}

// MaxFileDepth is the number of path elements that the name of a job's file may have.
const MaxFileDepth = 8

// CheckFilePath is the rule for the name of a job's file below /input or /code (ruling 24): 1 to
// MaxFileDepth elements with a slash between them, each by CheckFileName.
func CheckFilePath(path string) error {
	parts := strings.Split(path, "/")
	if len(parts) > MaxFileDepth {
		return fmt.Errorf("file name has %d parts: at most %d, which are 7 folders and a file", len(parts), MaxFileDepth)
	}
	for _, part := range parts {
		if part == "" && len(parts) > 1 {
			return errors.New("file name must not begin or end with / or have // in it: it is a path below the job's folder")
		}
		if err := CheckFileName(part); err != nil {
			return err
		}
	}
	return nil
}

// CheckFileTree refuses a set of paths, each good by CheckFilePath, in which a file of one is a
// folder of another. It returns the index of the path that does not fit.
func CheckFileTree(paths []string) (int, error) {
	files := make(map[string]bool, len(paths))
	for _, p := range paths {
		files[p] = true
	}
	for i, p := range paths {
		for at := strings.IndexByte(p, '/'); at >= 0; {
			if files[p[:at]] {
				return i, fmt.Errorf("lies below %s, which is a file", clip(p[:at], 64))
			}
			next := strings.IndexByte(p[at+1:], '/')
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return -1, nil
}

// imageNameRE is a name as registries have it: perhaps a host with its port, a path of lower-case
// words, perhaps a tag. No other colon, no empty element, nothing that could be an option, an
// absolute path or one that goes up.
var imageNameRE = regexp.MustCompile(`^([a-z0-9]+([.-][a-z0-9]+)*(:[0-9]{1,5})?/)?[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*)*(:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?$`)

// CheckImageName is the rule for the name of an image in the catalogue. It is a name only: nothing
// is ever fetched by it.
func CheckImageName(name string) error {
	if len(name) > 255 || !imageNameRE.MatchString(name) || strings.HasPrefix(name, "sha256:") {
		return fmt.Errorf("image name of %d bytes: must be 1..255 of a-z, 0-9 and single . _ - / between them, and perhaps a :tag", len(name))
	}
	return nil
}

// MaxPreload is the number of modules that a job type may preload.
const MaxPreload = 64

var moduleRE = map[Language]*regexp.Regexp{
	Python: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`),
	Node:   regexp.MustCompile(`^(node:|@[a-z0-9_-][a-z0-9._-]*/)?[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`),
}

// CheckModule is the rule for a module in Preload: a name as an import statement of the language
// has it, never a path.
func CheckModule(l Language, name string) error {
	if re := moduleRE[l]; re == nil || len(name) > 200 || !re.MatchString(name) {
		return fmt.Errorf("module name of %d bytes: must be 1..200 of what an import in %s names, and no path", len(name), l)
	}
	return nil
}
