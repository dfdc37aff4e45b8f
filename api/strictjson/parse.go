package strictjson

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested.
const MaxDepth = 100

// Kind of a JSON value.
type Kind byte

// The kinds.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Dict
)

// Value is one JSON value that Parse found correct, over the bytes that Parse was given. The zero
// value is absent.
type Value struct{ raw []byte }

// Member is one name and value of an object.
type Member struct {
	Name  string
	Value Value
}

// Error reports why a body is not strict JSON.
type Error struct {
	Offset    int    // byte at which it was seen
	Message   string // without any of the body's text
	Path      []any  // of a duplicate: the names and indexes that lead to it
	Duplicate bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", e.Message, e.Offset) }

// Parse checks that data is exactly one JSON value, with white space around it at most. Every error
// is an *Error. data must not be changed while the Value is in use.
func Parse(data []byte) (Value, error) {
	s := scanner{b: data}
	s.space()
	start := s.i
	if err := s.value(); err != nil {
		return Value{}, err
	}
	end := s.i
	if s.space(); s.i < len(data) {
		return Value{}, s.fail("Extra data")
	}
	return Value{data[start:end]}, nil
}

// Present reports whether there is a value at all.
func (v Value) Present() bool { return len(v.raw) > 0 }

// Raw is the value's text as it was sent.
func (v Value) Raw() []byte { return v.raw }

// Kind of a value that is present.
func (v Value) Kind() Kind {
	switch v.raw[0] {
	case '{':
		return Dict
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	}
	return Number
}

// Text is the content of a String.
func (v Value) Text() string { return unquote(v.raw) }

// Members of an Dict, in the order in which they were sent.
func (v Value) Members() []Member {
	var all []Member
	s := scanner{b: v.raw, i: 1, trusted: true}
	for s.space(); s.b[s.i] != '}'; s.space() {
		name := s.token()
		s.space()
		s.i++ // the colon
		s.space()
		all = append(all, Member{unquote(name), Value{s.token()}})
		if s.space(); s.b[s.i] == ',' {
			s.i++
		}
	}
	return all
}

// Elements of an Array.
func (v Value) Elements() []Value {
	var all []Value
	s := scanner{b: v.raw, i: 1, trusted: true}
	for s.space(); s.b[s.i] != ']'; s.space() {
		all = append(all, Value{s.token()})
		if s.space(); s.b[s.i] == ',' {
			s.i++
		}
	}
	return all
}

// Int is the value of a Number that is a whole one, however it is written (5, 5.0, 50e-1), and
// whether it is. Beyond the range of int64 it is the nearest end of the range.
func (v Value) Int() (int64, bool) {
	text := string(v.raw)
	text, negative := strings.CutPrefix(text, "-")
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		n, err := strconv.Atoi(text[i+1:])
		if err != nil || n > 1<<20 || n < -1<<20 { // beyond any body's digits
			n = 1 << 20
			if text[i+1] == '-' {
				n = -n
			}
		}
		exponent = n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	point := len(whole) + exponent
	if strings.Trim(digits, "0") == "" {
		return 0, true
	}
	if point <= 0 {
		return 0, false
	}
	if point < len(digits) {
		if strings.Trim(digits[point:], "0") != "" {
			return 0, false
		}
		digits = digits[:point]
	}
	zeros := point - len(digits)
	digits = strings.TrimLeft(digits, "0")
	if len(digits)+zeros > 19 {
		digits, zeros = "9999999999999999999", 0
	}
	digits += strings.Repeat("0", zeros)
	if negative {
		digits = "-" + digits
	}
	n, _ := strconv.ParseInt(digits, 10, 64) // out of range: the nearest end
	return n, true
}

// scanner walks over JSON text. A trusted one is known to be correct.
type scanner struct {
	b       []byte
	i       int
	depth   int
	trusted bool
}

func (s *scanner) fail(message string) error { return &Error{Offset: s.i, Message: message} }

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// token passes over one value and returns its text.
func (s *scanner) token() []byte {
	start := s.i
	_ = s.value() // trusted
	return s.b[start:s.i]
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.fail("Expecting value")
}

func (s *scanner) literal(word string) error {
	if !strings.HasPrefix(string(s.b[s.i:min(len(s.b), s.i+len(word))]), word) {
		return s.fail("Expecting value")
	}
	s.i += len(word)
	return nil
}

func (s *scanner) nested(inner func() error) error {
	if s.depth++; s.depth > MaxDepth {
		return s.fail(fmt.Sprintf("Nested deeper than %d", MaxDepth))
	}
	defer func() { s.depth-- }()
	s.i++
	return inner()
}

func (s *scanner) object() error {
	var seen names
	if s.space(); s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		s.space()
		start := s.i
		if s.peek() != '"' {
			return s.fail("Expecting property name enclosed in double quotes")
		}
		if err := s.str(); err != nil {
			return err
		}
		quoted := s.b[start:s.i]
		if !s.trusted && !seen.add(unquote(quoted)) {
			return &Error{Offset: start, Message: "Duplicate key", Path: []any{unquote(quoted)}, Duplicate: true}
		}
		if s.space(); s.peek() != ':' {
			return s.fail("Expecting ':' delimiter")
		}
		s.i++
		s.space()
		if err := s.value(); err != nil {
			return under(err, func() any { return unquote(quoted) })
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return s.fail("Expecting ',' delimiter")
		}
	}
}

func (s *scanner) array() error {
	if s.space(); s.peek() == ']' {
		s.i++
		return nil
	}
	for n := 0; ; n++ {
		s.space()
		if err := s.value(); err != nil {
			return under(err, func() any { return n })
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.fail("Expecting ',' delimiter")
		}
	}
}

// under puts one step in front of the path of a duplicate.
func under(err error, step func() any) error {
	if e, is := err.(*Error); is && e.Duplicate { //nolint:errorlint // never wrapped in this package
		e.Path = append([]any{step()}, e.Path...)
	}
	return err
}

func (s *scanner) number() error {
	digits := func() bool {
		start := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		return s.i > start
	}
	if s.peek() == '-' {
		s.i++
	}
	switch {
	case s.peek() == '0':
		s.i++
	case !digits():
		return s.fail("Expecting value")
	}
	if s.peek() == '.' {
		s.i++
		if !digits() {
			return s.fail("Expecting digits after the decimal point")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !digits() {
			return s.fail("Expecting digits in the exponent")
		}
	}
	return nil
}

func (s *scanner) str() error {
	for s.i++; ; {
		if s.i >= len(s.b) {
			return s.fail("Unterminated string")
		}
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return s.fail("Invalid control character")
		case c < utf8.RuneSelf || s.trusted:
			s.i++
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				return s.fail("Invalid UTF-8")
			}
			s.i += n
		}
	}
}

func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return s.fail("Unterminated string")
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
	default:
		return s.fail("Invalid \\escape")
	}
	r, ok := hex4(s.b[s.i:])
	if !ok {
		return s.fail("Invalid \\uXXXX escape")
	}
	if utf16.IsSurrogate(r) {
		low, ok := hex4(s.b[s.i+6:])
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			return s.fail("Lone surrogate")
		}
		s.i += 6
	}
	s.i += 6
	return nil
}

// hex4 reads \uXXXX at the start of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	return rune(n), err == nil
}

// unquote is the content of a string token that was found correct.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	var out strings.Builder
	out.Grow(len(inner))
	for i := 0; i < len(inner); {
		if inner[i] != '\\' {
			end := i + 1
			for end < len(inner) && inner[end] != '\\' {
				end++
			}
			out.Write(inner[i:end])
			i = end
			continue
		}
		switch c := inner[i+1]; c {
		case 'b':
			out.WriteByte('\b')
		case 'f':
			out.WriteByte('\f')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 't':
			out.WriteByte('\t')
		case 'u':
			r, _ := hex4(inner[i:])
			if utf16.IsSurrogate(r) {
				low, _ := hex4(inner[i+6:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out.WriteRune(r)
			i += 4
		default:
			out.WriteByte(c)
		}
		i += 2
	}
	return out.String()
}

// names is a set of strings, cheap while it is small.
type names struct {
	few  []string
	many map[string]struct{}
}

// add reports whether the name is new.
func (n *names) add(name string) bool {
	const few = 16
	if n.many == nil {
		for _, have := range n.few {
			if have == name {
				return false
			}
		}
		if n.few = append(n.few, name); len(n.few) < few {
			return true
		}
		n.many = make(map[string]struct{}, 2*few)
		for _, have := range n.few {
			n.many[have] = struct{}{}
		}
		n.few = nil
		return true
	}
	if _, have := n.many[name]; have {
		return false
	}
	n.many[name] = struct{}{}
	return true
}
