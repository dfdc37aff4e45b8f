package job

import (
	"regexp"
	"strings"
)

// nodeTypes maps the class of what a Node.js program did not catch to its error type; a class that
// is not here is a runtime_error.
var nodeTypes = map[string]ErrorType{
	"TypeError":      "type_error",
	"SyntaxError":    "syntax_error",
	"ReferenceError": "name_error",
	"AssertionError": "assertion_error",
	"URIError":       "encoding_error",
}

// nodeBeginnings maps beginnings of what follows the class to an error type, where the class is
// less specific.
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
	{"EMFILE: ", "os_error"},
	{"ENOTEMPTY: ", "os_error"},
	{"EPIPE: ", "os_error"},
	{"write EPIPE", "os_error"},
	{"connect ETIMEDOUT", "network_timeout"},
	{"connect E", "network_error"},
	{"read ECONNRESET", "network_error"},
	{"getaddrinfo ", "network_error"},
	{"socket hang up", "network_error"},
	{"fetch failed", "network_error"},
	{"Array buffer allocation failed", outOfMemory},
}

var (
	nodeEndRE = regexp.MustCompile(`^Node\.js v[0-9.]+$`)
	// nodePlaceRE is the line before the source line and its carets.
	nodePlaceRE = regexp.MustCompile(`^\S.*:[0-9]+$`)
	nodeCaretRE = regexp.MustCompile(`^\s*\^+\s*$`)
	nodeErrorRE = regexp.MustCompile(`^([\pL_$][\pL\pN_$]*)(?: \[[^\]]+\])?(?:: (.*)|:)?$`)
	// nodeBareRE is an error without a stack.
	nodeBareRE  = regexp.MustCompile(`^\[([\pL_$][\pL\pN_$]*(?:Error|Rejection|Exception)(?: \[[^\]]+\])?: .*)\](?: \{)?$`)
	nodeSpawnRE = regexp.MustCompile(`^spawn .* ENOENT$`)
)

// nodeRejection stands in the message of a rejection without an error, before the reason.
const nodeRejection = "This error originated either by throwing inside of an async function without a catch block, " +
	"or by rejecting a promise which was not handled with .catch(). "

// nodeExceptionLine finds the line that names the exception in what Node.js writes when nothing
// catches it: the place, the source line, carets under it, the exception with its stack, and last
// the version. It is "" when stderr does not end so.
func nodeExceptionLine(stderr []byte) (line string, t ErrorType) {
	lines := strings.Split(strings.TrimRight(Decode(stderr), "\r\n"), "\n")
	end := len(lines) - 1
	if !nodeEndRE.MatchString(lines[end]) {
		return "", ""
	}
	lines = lines[nodeHead(lines[:end]):end]
	for i, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if m := nodeBareRE.FindStringSubmatch(l); m != nil {
			l = m[1]
		}
		l = strings.Replace(l, nodeRejection, "", 1)
		m := nodeErrorRE.FindStringSubmatch(l)
		if m == nil {
			return l, TypeRuntime
		}
		if m[2] == "" && strings.HasSuffix(l, ": ") {
			m[2] = nodeText(lines[i+1:])
			l = strings.TrimSuffix(l+m[2], ": ")
		}
		return l, nodeType(m[1], m[2])
	}
	return "", ""
}

// nodeHead is the index of the line behind the last place, source line and carets; len(lines) when
// there are none.
func nodeHead(lines []string) int {
	for i := len(lines) - 3; i >= 0; i-- {
		// The end of a text has no carets under it.
		if carets := lines[i+2]; nodePlaceRE.MatchString(lines[i]) && (nodeCaretRE.MatchString(carets) || strings.TrimSpace(carets) == "") {
			return i + 3
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if nodeCaretRE.MatchString(lines[i]) {
			return i + 1
		}
	}
	return len(lines)
}

// nodeText is the first line with text of a message that begins with line breaks; lines follow the
// class.
func nodeText(lines []string) string {
	for _, l := range lines {
		if strings.HasPrefix(l, "    at ") {
			break
		}
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}

func nodeType(class, text string) ErrorType {
	for _, b := range nodeBeginnings {
		if strings.HasPrefix(text, b.text) {
			return b.t
		}
	}
	switch {
	case nodeSpawnRE.MatchString(text):
		return "file_not_found"
	case class == "SyntaxError" && (strings.Contains(text, "is not valid JSON") || strings.Contains(text, " in JSON at position ") ||
		text == "Unexpected end of JSON input"):
		return "json_error"
	}
	if t, known := nodeTypes[class]; known {
		return t
	}
	return TypeRuntime
}
