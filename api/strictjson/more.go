package strictjson

import (
	"fmt"
	"strconv"
)

// Bool reads a boolean; otherwise is what it is when it is absent, null or wrong.
func (o *Object) Bool(name string, otherwise bool) bool {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return otherwise
	}
	if v.Kind() != Bool {
		o.Report("bool_type", "Input should be a valid boolean", v, nil, name)
		return otherwise
	}
	return v.raw[0] == 't'
}

// Float reads a number from low to high, both finite; nil when it is absent, null or wrong.
func (o *Object) Float(name string, low, high float64) *float64 {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return nil
	}
	if v.Kind() != Number {
		o.Report("float_type", "Input should be a valid number", v, nil, name)
		return nil
	}
	n, _ := strconv.ParseFloat(string(v.raw), 64) // what does not fit is an infinity, and over the bounds
	switch {
	case n < low:
		o.Report("greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %g", low), v, map[string]any{"ge": low}, name)
		return nil
	case n > high:
		o.Report("less_than_equal", fmt.Sprintf("Input should be less than or equal to %g", high), v, map[string]any{"le": high}, name)
		return nil
	}
	return &n
}

// Texts reads an object of at most limit strings, each by the rule; names are checked with check,
// whose text is shown to the caller. It is nil when it is absent, null or wrong in any place.
func (o *Object) Texts(name string, limit int, check func(string) error, r StringRule) map[string]string {
	all := map[string]string{}
	if !o.Each(name, limit, check, func(key string, v Value) bool {
		text := o.str(v, r, name, key)
		if text == nil {
			return false
		}
		all[key] = *text
		return true
	}) {
		return nil
	}
	return all
}

// Each reads an object of at most limit members and gives each whose name is right to f, which
// reports what is wrong and returns false then. It is false when the object is absent, null or
// wrong in any place.
func (o *Object) Each(name string, limit int, check func(string) error, f func(key string, v Value) bool) bool {
	v := o.Value(name)
	if !v.Present() || v.Kind() == Null {
		return false
	}
	if v.Kind() != Dict {
		o.Report("dict_type", "Input should be a valid dictionary", v, nil, name)
		return false
	}
	members := v.Members()
	if len(members) > limit {
		o.Report("too_long", fmt.Sprintf("Dictionary should have at most %s after validation, not %d", count(limit, "item"), len(members)), v,
			map[string]any{"field_type": "Dictionary", "max_length": limit, "actual_length": len(members)}, name)
		return false
	}
	right := true
	for _, m := range members {
		if err := check(m.Name); err != nil {
			o.ReportValue(err.Error(), m.Value, name, clip(m.Name))
			right = false
			continue
		}
		right = f(m.Name, m.Value) && right
	}
	return right
}

// Under binds the members of v, a Dict at path in o. Merge brings what is wrong in it into o's
// list.
func (o *Object) Under(v Value, path ...any) *Object {
	return &Object{value: v, members: v.Members(), loc: append(append([]any{}, o.loc...), path...)}
}

// Merge adds what is wrong in an Object from Under, unknown members included, and reports whether
// nothing was.
func (o *Object) Merge(inner *Object) bool {
	problems := inner.Done()
	room := max(0, maxProblems-len(o.problems))
	o.problems = append(o.problems, problems[:min(room, len(problems))]...)
	return len(problems) == 0
}
