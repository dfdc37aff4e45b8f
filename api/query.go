package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/tsubo-run/tsubo/api/strictjson"
)

// query reads the parameters of a query string by rules and collects what is wrong. Of a parameter
// that comes more than once the last one counts; unknown ones are passed over, as upstream does.
type query struct {
	values   url.Values
	problems []strictjson.Problem
}

func (c *call) query() *query {
	values, err := url.ParseQuery(c.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.report("query", "value_error", "Value error, the query string is malformed", nil, nil)
	}
	return q
}

// done ends the reading. When it returns false it has answered.
func (q *query) done(c *call) bool {
	if q.problems != nil {
		c.invalid(q.problems)
	}
	return q.problems == nil
}

func (q *query) report(name, kind, message string, input any, ctx map[string]any) {
	echo, err := json.Marshal(input)
	if err != nil || len(echo) > 1024 {
		echo = json.RawMessage("null")
	}
	loc := []any{"query"}
	if name != "query" {
		loc = append(loc, name)
	}
	q.problems = append(q.problems, strictjson.Problem{Type: kind, Loc: loc, Msg: message, Input: echo, Ctx: ctx})
}

func (q *query) last(name string) (string, bool) {
	all := q.values[name]
	if len(all) == 0 {
		return "", false
	}
	return all[len(all)-1], true
}

func (q *query) text(name string) string {
	s, _ := q.last(name)
	return s
}

// integer is a whole number from low to high, in digits.
func (q *query) integer(name string, otherwise, low, high int) int {
	s, ok := q.last(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	switch {
	case err != nil:
		q.report(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", s, nil)
	case n < int64(low):
		q.report(name, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", low), s, map[string]any{"ge": low})
	case n > int64(high):
		q.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", high), s, map[string]any{"le": high})
	default:
		return int(n)
	}
	return otherwise
}

// number is a finite number from low to high.
func (q *query) number(name string, otherwise, low, high float64) float64 {
	s, ok := q.last(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	switch {
	case err != nil && !math.IsInf(n, 0) || math.IsNaN(n) || strings.ContainsAny(s, "xX_"):
		q.report(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", s, nil)
	case n < low:
		q.report(name, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %g", low), s, map[string]any{"ge": low})
	case n > high:
		q.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %g", high), s, map[string]any{"le": high})
	default:
		return n
	}
	return otherwise
}

// boolean takes the words of wire.md 1.4 in any case.
func (q *query) boolean(name string) bool {
	s, ok := q.last(name)
	if !ok {
		return false
	}
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	case "false", "0", "no", "off", "f", "n":
	default:
		q.report(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", s, nil)
	}
	return false
}

// labels are the parameters label=name=value, each of which must match.
func (q *query) labels() map[string]string {
	all := q.values["label"]
	if len(all) == 0 {
		return nil
	}
	if len(all) > maxLabels {
		q.report("label", "too_long", fmt.Sprintf("List should have at most %d items after validation, not %d", maxLabels, len(all)), nil,
			map[string]any{"field_type": "List", "max_length": maxLabels, "actual_length": len(all)})
		return nil
	}
	labels := make(map[string]string, len(all))
	for _, l := range all {
		name, value, ok := strings.Cut(l, "=")
		if before, twice := labels[name]; !ok || checkLabel(name) != nil || twice && before != value {
			q.report("label", "value_error", "Value error, must be name=value, each name once", l, map[string]any{"error": map[string]any{}})
			return nil
		}
		labels[name] = value
	}
	return labels
}
