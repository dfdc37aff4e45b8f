package job

import (
	"regexp"
	"strings"
)

// nodeTypes maps the class of what a Node.js program did not catch to its error type; a class that is not here is a runtime_error.
var nodeTypes = map[string]ErrorType{
	"TypeError":      "type_error",
	"SyntaxError":    "syntax_error",
	"ReferenceError": "name_error",
	"AssertionError": "assertion_error",
	"URIError":       "encoding_error",
}

// nodeBeginnings maps beginnings of what follows the class to an error type, where the class says less.
var nodeBeginnings = []struct {
	text string
	t    ErrorType
}{
	{"Maximum call stack size exceeded", "recursion_error"},
	{"Cannot find module '", "import_error"},
	{"Cannot find package '", "import_error"},
	{"ENOENT: ", "file_not_found"},
	{"EACCES: ", "permission"},
	{"EPERM: ", "permission"},
	{"EROFS: ", "permission"},
	{"EISDIR: ", "file_error"},
	{"ENOTDIR: ", "file_error"},
	{"EEXIST: ", "file_error"},
	{"ENOSPC: ", "os_error"},
}

var (
	nodeEndRE   = regexp.MustCompile(`^Node\.js v[0-9.]+$`)
	nodeCaretRE = regexp.MustCompile(`^\s*\^+\s*$`)
	nodeErrorRE = regexp.MustCompile(`^([\pL_$][\pL\pN_$]*)(?: \[[A-Z0-9_]+\])?(?:: (.*)|:)?$`)
)

// nodeExceptionLine finds the line that names the exception in what Node.js writes when nothing catches it: the source line, carets under its
// place, the exception with its stack, and last the version. It is "" when stderr does not end so.
func nodeExceptionLine(stderr []byte) (line string, t ErrorType) {
	lines := strings.Split(strings.TrimRight(Decode(stderr), "\r\n"), "\n")
	end := len(lines) - 1
	if !nodeEndRE.MatchString(lines[end]) {
		return "", ""
	}
	caret := end - 1
	for caret >= 0 && !nodeCaretRE.MatchString(lines[caret]) {
		caret--
	}
	for _, l := range lines[caret+1 : end] {
		if caret < 0 || strings.TrimSpace(l) == "" {
			continue
		}
		m := nodeErrorRE.FindStringSubmatch(l)
		if m == nil {
			return l, ErrRuntime
		}
		for _, b := range nodeBeginnings {
			if strings.HasPrefix(m[2], b.text) {
				return l, b.t
			}
		}
		if t, known := nodeTypes[m[1]]; known {
			return l, t
		}
		return l, ErrRuntime
	}
	return "", ""
}
