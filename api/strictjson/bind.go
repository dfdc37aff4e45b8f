package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one entry of the list in a 422 answer, in the shape that the upstream framework gives
// it (wire.md 1.0).
type Problem struct {
	Type  string          `json:"type"`
	Loc   []any           `json:"loc"`
	Msg   string          `json:"msg"`
	Input json.RawMessage `json:"input"`
	Ctx   map[string]any  `json:"ctx,omitempty"`
}

const (
	maxProblems = 50   // per body
	maxEcho     = 1024 // bytes of a value that a problem repeats
)

// Object binds the members of one JSON object. Each of its methods reads one member by a rule, adds
// what is wrong to the list, and returns the zero value then. It is not safe for concurrent use.
type Object struct {
	value    Value
	members  []Member
	bound    []string
	loc      []any
	problems []Problem
}

// Body parses a request body that must be a JSON object. loc is where it stands, "body". On an
// error the Object is nil and the list is not empty.
func Body(data []byte, loc ...any) (*Object, []Problem) {
	if len(data) == 0 {
		return nil, []Problem{{Type: "missing", Loc: loc, Msg: "Field required", Input: json.RawMessage("null")}}
	}
	v, err := Parse(data)
	if err != nil {
		return nil, []Problem{syntaxProblem(err, loc)}
	}
	if v.Kind() != Dict {
		return nil, []Problem{{
			Type: "model_attributes_type", Loc: loc, Input: echo(v),
			Msg: "Input should be a valid dictionary or object to extract fields from",
		}}
	}
	return &Object{value: v, members: v.Members(), loc: loc}, nil
}

func syntaxProblem(err error, loc []any) Problem {
	var e *Error
	if !errors.As(err, &e) {
		return Problem{Type: "json_invalid", Loc: loc, Msg: "JSON decode error", Input: json.RawMessage("{}")}
	}
	if e.Duplicate {
		for i, step := range e.Path {
			if name, is := step.(string); is {
				e.Path[i] = clip(name)
			}
		}
		return Problem{Type: "duplicate_key", Loc: append(slices.Clone(loc), e.Path...), Msg: "Duplicate key", Input: json.RawMessage("{}")}
	}
	return Problem{
		Type: "json_invalid", Loc: append(slices.Clone(loc), e.Offset), Msg: "JSON decode error",
		Input: json.RawMessage("{}"), Ctx: map[string]any{"error": e.Message},
	}
}

// Done adds the members that no rule has read and returns everything that is wrong, nil when
// nothing is.
func (o *Object) Done() []Problem {
	for _, m := range o.members {
		if !slices.Contains(o.bound, m.Name) {
			o.Report("extra_forbidden", "Extra inputs are not permitted", m.Value, nil, clip(m.Name))
		}
	}
	return o.problems
}

// Report adds a problem of the handler's own with the member at path.
func (o *Object) Report(kind, message string, v Value, ctx map[string]any, path ...any) {
	if len(o.problems) < maxProblems {
		o.problems = append(o.problems, Problem{Type: kind, Loc: append(slices.Clone(o.loc), path...), Msg: message, Input: echo(v), Ctx: ctx})
	}
}

// ReportValue adds the problem of a value that has the right type and is wrong all the same.
func (o *Object) ReportValue(message string, v Value, path ...any) {
	o.Report("value_error", "Value error, "+message, v, map[string]any{"error": map[string]any{}}, path...)
}

// Value is the member as it is, absent when it was not sent; it counts as read.
func (o *Object) Value(name string) Value {
	o.bound = append(o.bound, name)
	for _, m := range o.members {
		if m.Name == name {
			return m.Value
		}
	}
	return Value{}
}

// StringRule bounds a string; a Max of 0 is no bound. Check sees a string that is right otherwise.
type StringRule struct {
	Required bool // absent and null are problems
	Min, Max int  // characters
	MaxBytes int  // of UTF-8
	Pattern  *regexp.Regexp
	Check    func(string) error // its text is shown to the caller
}

// String reads a string member; nil when it is absent, null or wrong.
func (o *Object) String(name string, r StringRule) *string {
	v := o.Value(name)
	if !v.Present() {
		if r.Required {
			o.Report("missing", "Field required", o.value, nil, name)
		}
		return nil
	}
	if v.Kind() == Null && !r.Required {
		return nil
	}
	return o.str(v, r, name)
}

func (o *Object) str(v Value, r StringRule, path ...any) *string {
	if v.Kind() != String {
		o.Report("string_type", "Input should be a valid string", v, nil, path...)
		return nil
	}
	text := v.Text()
	n := utf8.RuneCountInString(text)
	switch {
	case n < r.Min:
		o.Report("string_too_short", "String should have at least "+count(r.Min, "character"), v, map[string]any{"min_length": r.Min}, path...)
		return nil
	case r.Max > 0 && n > r.Max:
		o.Report("string_too_long", "String should have at most "+count(r.Max, "character"), v, map[string]any{"max_length": r.Max}, path...)
		return nil
	case r.MaxBytes > 0 && len(text) > r.MaxBytes:
		o.Report("string_too_long", fmt.Sprintf("String should have at most %s of UTF-8, not %d", count(r.MaxBytes, "byte"), len(text)), v,
			map[string]any{"max_length": r.MaxBytes}, path...)
		return nil
	case r.Pattern != nil && !r.Pattern.MatchString(text):
		o.Report("string_pattern_mismatch", fmt.Sprintf("String should match pattern '%s'", r.Pattern), v, map[string]any{"pattern": r.Pattern.String()}, path...)
		return nil
	}
	if r.Check != nil {
		if err := r.Check(text); err != nil {
			o.ReportValue(err.Error(), v, path...)
			return nil
		}
	}
	return &text
}

// Int reads a whole number from low to high; nil when it is absent, null or wrong.
func (o *Object) Int(name string, low, high int64) *int64 {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return nil
	}
	if v.Kind() != Number {
		o.Report("int_type", "Input should be a valid integer", v, nil, name)
		return nil
	}
	n, whole := v.Int()
	switch {
	case !whole:
		o.Report("int_from_float", "Input should be a valid integer, got a number with a fractional part", v, nil, name)
		return nil
	case n < low:
		o.Report("greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", low), v, map[string]any{"ge": low}, name)
		return nil
	case n > high:
		o.Report("less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", high), v, map[string]any{"le": high}, name)
		return nil
	}
	return &n
}

// OneOf reads a string that must be one of the words; "" when it is absent, null or wrong.
func (o *Object) OneOf(name string, words ...string) string {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return ""
	}
	if v.Kind() == String && slices.Contains(words, v.Text()) {
		return v.Text()
	}
	expected := "'" + strings.Join(words, "' or '") + "'"
	o.Report("literal_error", "Input should be "+expected, v, map[string]any{"expected": expected}, name)
	return ""
}

// JSONObject reads a member that must be an object when it is sent (null is a problem), as the text
// that was sent.
func (o *Object) JSONObject(name string) Value {
	v := o.Value(name)
	if v.Present() && v.Kind() != Dict {
		o.Report("dict_type", "Input should be a valid dictionary", v, nil, name)
		return Value{}
	}
	return v
}

// Strings reads a list of at most limit strings, each by the rule; nil when it is absent, null or
// wrong in any place.
func (o *Object) Strings(name string, limit int, r StringRule) []string {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return nil
	}
	if v.Kind() != Array {
		o.Report("list_type", "Input should be a valid list", v, nil, name)
		return nil
	}
	elements := v.Elements()
	if len(elements) > limit {
		o.Report("too_long", fmt.Sprintf("List should have at most %s after validation, not %d", count(limit, "item"), len(elements)), v,
			map[string]any{"field_type": "List", "max_length": limit, "actual_length": len(elements)}, name)
		return nil
	}
	all, right := make([]string, 0, len(elements)), true
	for i, e := range elements {
		text := o.str(e, r, name, i)
		if text == nil {
			right = false
			continue
		}
		all = append(all, *text)
	}
	if !right {
		return nil
	}
	return all
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// echo is the value for a problem's input, cut short when it is long.
func echo(v Value) json.RawMessage {
	switch {
	case !v.Present():
		return json.RawMessage("null")
	case len(v.raw) <= maxEcho && (v.Kind() != Number || !tooBig(v.raw)):
		return slices.Clone(v.raw)
	}
	short, err := json.Marshal(clip(string(v.raw)))
	if err != nil {
		return json.RawMessage("null")
	}
	return short
}

// tooBig reports whether a reader that makes float64 of numbers would choke on this one.
func tooBig(number []byte) bool {
	_, err := strconv.ParseFloat(string(number), 64)
	return err != nil
}

// clip keeps the beginning of a long text.
func clip(text string) string {
	const keep = 200
	if len(text) <= keep {
		return text
	}
	text = text[:keep]
	for len(text) > 0 && !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + "…"
}
