package job

import (
	"regexp"
	"strings"
)

const (
	tracebackHeader = "Traceback (most recent call last):"
	groupHeader     = "  + Exception Group Traceback (most recent call last):"
	// groupMargin begins the lines of a group's own traceback.
	groupMargin = "  | "
)

var (
	exceptionRE = regexp.MustCompile(`^((?:(?:[\pL_][\pL\pN_]*|<locals>)\.)*)([\pL_][\pL\pN_]*)(?:: (.*)|:)?$`)
	frameRE     = regexp.MustCompile(`^  File ".*", line [0-9]+`)
	// codingRE is the one error of the program's text that comes without the place in it.
	codingRE = regexp.MustCompile(`^SyntaxError: encoding problem: `)
)

// ignoredBefore begins the line before a traceback that Python prints without failing for it.
var ignoredBefore = []string{"Exception ignored ", "Exception in thread ", "--- Logging error ---", "Error in atexit._run_exitfuncs:",
	"Error in sys.excepthook:", "future: <", "handle: <", "task: <"}

// chainedBy are the lines between two tracebacks of one exception.
var chainedBy = map[string]bool{
	"During handling of the above exception, another exception occurred:":  true,
	"The above exception was the direct cause of the following exception:": true,
}

// exceptionLine finds the line of the last Python traceback in the end of a stderr that names the
// exception, and the type of the exception's class without its module. The line is "" when there is
// none. A message that begins with line breaks gives its first line with text.
func exceptionLine(stderr []byte) (line string, t ErrorType) {
	var p tracebacks
	for l := range strings.Lines(Decode(stderr)) {
		p.next(strings.TrimRight(l, "\r\n"))
	}
	if p.line == "" {
		return "", ""
	}
	t, known := exceptionTypes[p.class]
	if !known {
		t = TypeRuntime
	}
	return strings.TrimSuffix(p.line, ": "), t
}

// tracebacks reads stderr line by line. A traceback is a header, indented lines, and then the
// exception, which is not indented. Frames without a header count only as the first traceback: the
// error of a program's own text has none, and the head of stderr may be cut off; later ones are
// part of a message. Tracebacks that Python prints without failing for them (of a thread, of a
// finaliser) count only when there is no other.
type tracebacks struct {
	line, class string

	previous string
	seen     bool // a traceback has begun before
	inside   bool
	group    bool // the one inside is an exception group's
	ignored  bool // the one inside is one that Python does not fail for
	embedded bool // the one inside is part of a message
	fatal    bool // line is one that Python fails for
	bare     bool // line ends before its message's first line with text
}

func (p *tracebacks) next(l string) {
	defer func() { p.previous = l }()
	header := l == tracebackHeader || l == groupHeader
	switch {
	case p.bare && l == "":
		return
	case p.bare && chainedBy[l]:
		p.bare = false
	case p.bare:
		p.bare = false
		p.line += strings.TrimSpace(l)
		p.inside, p.group, p.embedded = header, l == groupHeader, header
		return
	}
	switch {
	case header:
		p.seen, p.inside, p.group, p.embedded, p.ignored = true, true, l == groupHeader, false, false
		for _, s := range ignoredBefore {
			p.ignored = p.ignored || strings.HasPrefix(p.previous, s)
		}
	case !p.seen && frameRE.MatchString(l):
		p.seen, p.inside, p.group, p.embedded, p.ignored = true, true, false, false, false
	case !p.seen && codingRE.MatchString(l):
		p.seen = true
		p.ends(l)
	case !p.inside && strings.HasPrefix(p.previous, "Exception ignored "): // one without a traceback
		p.ignored = true
		p.ends(l)
	case p.inside && p.group:
		own, ok := strings.CutPrefix(l, groupMargin)
		if ok && own != "" && own[0] != ' ' {
			p.ends(own)
		}
		p.inside = ok && p.inside
	case p.inside && !strings.HasPrefix(l, " "):
		p.ends(l)
	}
}

// ends takes the line that names the exception.
func (p *tracebacks) ends(l string) {
	p.inside = false
	m := exceptionRE.FindStringSubmatch(l)
	if m == nil || p.embedded || p.ignored && p.fatal {
		return
	}
	p.line, p.class, p.seen = l, m[2], true
	p.fatal = p.fatal || !p.ignored
	p.bare = strings.HasSuffix(l, ": ") && m[3] == ""
}

// fatalLine is the line with which an interpreter that kills itself gives its reason, "" when there
// is none, and whether the reason is memory.
func fatalLine(stderr []byte) (line string, memory bool) {
	for l := range strings.Lines(Decode(stderr)) {
		if strings.HasPrefix(l, "Fatal Python error: ") || strings.HasPrefix(l, "FATAL ERROR: ") {
			line = strings.TrimRight(l, "\r\n ")
		}
	}
	return line, strings.HasSuffix(line, "out of memory")
}

// beforeStack is stderr without the stack that Node.js writes when it aborts.
func beforeStack(stderr []byte) []byte {
	before, _, _ := strings.Cut(string(stderr), "----- Native stack trace -----")
	return []byte(before)
}
