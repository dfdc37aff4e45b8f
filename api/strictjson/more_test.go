package strictjson

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func refuseBad(name string) error {
	if name == "bad" {
		return errors.New("bad name")
	}
	return nil
}

func TestBindMore(t *testing.T) {
	o, problems := Body([]byte(`{"t":true,"f":false,"n":null,"x":2.5,"e":25e-1,"m":{"a":"1","b":""},"o":{"i":{"s":"in"}}}`), "body")
	if problems != nil {
		t.Fatal(problems)
	}
	yes, no, null, absent := o.Bool("t", false), o.Bool("f", true), o.Bool("n", true), o.Bool("no", true)
	x, e, none := o.Float("x", 2.5, 2.5), o.Float("e", 0, 3), o.Float("n", 0, 1)
	m, empty := o.Texts("m", 2, refuseBad, StringRule{Max: 1}), o.Texts("n", 2, refuseBad, StringRule{})
	inner := ""
	ok := o.Each("o", 1, refuseBad, func(name string, v Value) bool {
		under := o.Under(v, "o", name)
		inner = *under.String("s", StringRule{Required: true})
		return o.Merge(under)
	})
	if p := o.Done(); p != nil {
		t.Fatal(p)
	}
	if !yes || no || !null || !absent || *x != 2.5 || *e != 2.5 || none != nil || !reflect.DeepEqual(m, map[string]string{"a": "1", "b": ""}) || empty != nil || !ok || inner != "in" {
		t.Errorf("got %v %v %v %v %v %v %v %v %v %v %q", yes, no, null, absent, *x, *e, none, m, empty, ok, inner)
	}
}

func TestBindMoreRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{"b":1}`:                      "bool_type [body b]",
		`{"b":"true"}`:                 "bool_type [body b]",
		`{"x":"1"}`:                    "float_type [body x]",
		`{"x":true}`:                   "float_type [body x]",
		`{"x":0.99}`:                   "greater_than_equal [body x]",
		`{"x":-1e999}`:                 "greater_than_equal [body x]",
		`{"x":2.01}`:                   "less_than_equal [body x]",
		`{"x":1e999}`:                  "less_than_equal [body x]",
		`{"m":[]}`:                     "dict_type [body m]",
		`{"m":{"a":1}}`:                "string_type [body m a]",
		`{"m":{"a":"12"}}`:             "string_too_long [body m a]",
		`{"m":{"bad":"1"}}`:            "value_error [body m bad]",
		`{"m":{"a":"","b":"","c":""}}`: "too_long [body m]",
		`{"o":{"i":{"s":"x","y":1}}}`:  "extra_forbidden [body o i y]",
		`{"o":{"i":{}}}`:               "missing [body o i s]",
	} {
		o, problems := Body([]byte(text), "body")
		if problems != nil {
			t.Fatal(problems)
		}
		o.Bool("b", false)
		o.Float("x", 1, 2)
		if m := o.Texts("m", 2, refuseBad, StringRule{Max: 1}); m != nil {
			t.Errorf("%s: %v", text, m)
		}
		o.Each("o", 1, refuseBad, func(name string, v Value) bool {
			under := o.Under(v, "o", name)
			under.String("s", StringRule{Required: true})
			return o.Merge(under)
		})
		p := o.Done()
		if len(p) != 1 || fmt.Sprint(p[0].Type, " ", p[0].Loc) != want {
			t.Errorf("%s: %v, want %s", text, p, want)
		}
	}
	// However many objects there are, and whatever is wrong in them, the list is short.
	o, _ := Body([]byte(`{"o":{"i":{`+many(100)+`}}}`), "body")
	o.Each("o", 1, refuseBad, func(name string, v Value) bool { return o.Merge(o.Under(v, "o", name)) })
	if n := len(o.Done()); n != maxProblems {
		t.Errorf("%d problems", n)
	}
}

func many(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"k%d":1`, i)
	}
	return strings.Join(all, ",")
}
