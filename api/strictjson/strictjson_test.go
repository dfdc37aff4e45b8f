package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var good = []string{
	`null`, `true`, `false`, `0`, `-0`, `1.5e-3`, `1E+9`, `""`, `"a\"\\\/\b\f\n\r\tb"`, `"\u00e9\ud83d\ude00é😀"`, `[]`, `{}`, "\t[1 , [2,{}] ]\r\n",
	`{"a":{"b":[1,{"c":null}]},"A":1}`, `"\u0000"`, `"\ufffd"`, `12345678901234567890.12345678901234567890`, `{"":1}`,
}

var bad = []string{
	``, ` `, `nul`, `nulll`, `True`, `01`, `-`, `+1`, `.5`, `5.`, `1e`, `1e+`, `0x1`, `NaN`, `Infinity`, `-Infinity`, `'a'`, `"`, `"a`, `"\`, `"\x"`, `"\u12"`,
	`"\u+123"`, `"\u12_4"`, `"\ud800"`, `"\ud800x"`, `"\ud800\ud800"`, `"\udc00"`, `"\udc00\ud800"`, "\"\x00\"", "\"\n\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"",
	`[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{1:1}`, `{"a":1 "b":2}`, `1 2`, `{}{}`, `{}x`,
	"\ufeff{}", `/*c*/1`, `1//c`, `{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `[{"b":{"a":1,"a":1}}]`, `{"":1,"":2}`,
}

func TestParse(t *testing.T) {
	for _, text := range good {
		v, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(v.Raw()); got != strings.TrimSpace(text) {
			t.Errorf("%s: raw %s", text, got)
		}
	}
	for _, text := range bad {
		_, err := Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, c := range []struct{ open, close string }{{"[", "]"}, {`{"a":`, "}"}} {
		for depth, ok := range map[int]bool{MaxDepth: true, MaxDepth + 1: false, 1_000_000: false} {
			if _, err := Parse([]byte(strings.Repeat(c.open, depth) + "1" + strings.Repeat(c.close, depth))); (err == nil) != ok {
				t.Errorf("%d of %s: %v", depth, c.open, err)
			}
		}
	}
}

func TestDuplicatesAmongMany(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	if _, err := Parse([]byte("{" + b.String() + `"x":1}`)); err != nil {
		t.Error(err)
	}
	for _, again := range []int{0, 14, 15, 16, 17, 999} {
		if _, err := Parse([]byte(fmt.Sprintf(`{%s"k%d":1}`, b.String(), again))); err == nil {
			t.Errorf("k%d twice was accepted", again)
		}
	}
	_, err := Parse([]byte(`{"a":[0,{"b":{"c":1,"c":2}}]}`))
	var e *Error
	if !errors.As(err, &e) || !reflect.DeepEqual(e.Path, []any{"a", 1, "b", "c"}) {
		t.Errorf("got %+v", e)
	}
}

func TestInt(t *testing.T) {
	const most, least = 1<<63 - 1, -1 << 63
	for _, c := range []struct {
		text  string
		n     int64
		whole bool
	}{
		{"5", 5, true}, {"5.0", 5, true}, {"5.000", 5, true}, {"50e-1", 5, true}, {"0.5e1", 5, true}, {"5e0", 5, true}, {"-5", -5, true}, {"-0", 0, true}, {"0e999", 0, true},
		{"0.000e-99999999999999999999", 0, true}, {"1e3", 1000, true}, {"5.5", 0, false}, {"1e-1", 0, false}, {"0.99999999999999999999999999", 0, false}, {"12e-3", 0, false},
		{"9223372036854775807", most, true}, {"9223372036854775808", most, true}, {"-9223372036854775808", least, true}, {"-9223372036854775809", least, true},
		{"1e18", 1000000000000000000, true}, {"1e19", most, true}, {"1e309", most, true}, {"-1e99999999999999999999", least, true}, {"1e-99999999999999999999", 0, false},
		{"9007199254740993.0", 9007199254740993, true}, {"100000000000000000000000e-22", 10, true},
	} {
		v, err := Parse([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if n, whole := v.Int(); n != c.n || whole != c.whole {
			t.Errorf("%s: %d, %v; want %d, %v", c.text, n, whole, c.n, c.whole)
		}
	}
}

// Every JSON that Parse takes is JSON for the standard library with the same content; nothing
// panics.
func FuzzParse(f *testing.F) {
	for _, text := range append(good, bad...) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse(data)
		if err != nil {
			return
		}
		if !json.Valid(data) || !utf8.Valid(data) {
			t.Fatalf("accepted %q", data)
		}
		compare(t, v)
		if v.Kind() == Dict {
			o, problems := Body(data, "body")
			if problems != nil {
				t.Fatalf("%q: %v", data, problems)
			}
			o.Int("a", 0, 9)
			o.String("b", StringRule{Required: true, Min: 1, Max: 3})
			o.Strings("c", 3, StringRule{})
			if _, err := json.Marshal(o.Done()); err != nil {
				t.Errorf("%q: %v", data, err)
			}
		}
	})
}

func compare(t *testing.T, v Value) {
	switch v.Kind() {
	case String:
		var want string
		if err := json.Unmarshal(v.Raw(), &want); err != nil || v.Text() != want {
			t.Errorf("%s: %q, want %q, %v", v.Raw(), v.Text(), want, err)
		}
	case Number:
		v.Int()
	case Array:
		var want []json.RawMessage
		if err := json.Unmarshal(v.Raw(), &want); err != nil || len(want) != len(v.Elements()) {
			t.Errorf("%s: %d elements, want %d, %v", v.Raw(), len(v.Elements()), len(want), err)
		}
		for i, e := range v.Elements() {
			if !bytes.Equal(e.Raw(), want[i]) {
				t.Errorf("%s: element %d is %s", v.Raw(), i, e.Raw())
			}
			compare(t, e)
		}
	case Dict:
		var want map[string]json.RawMessage
		if err := json.Unmarshal(v.Raw(), &want); err != nil || len(want) != len(v.Members()) {
			t.Errorf("%s: %d members, want %d, %v", v.Raw(), len(v.Members()), len(want), err)
		}
		for _, m := range v.Members() {
			if !bytes.Equal(m.Value.Raw(), want[m.Name]) {
				t.Errorf("%s: member %q is %s", v.Raw(), m.Name, m.Value.Raw())
			}
			compare(t, m.Value)
		}
	}
}

func TestBind(t *testing.T) {
	o, problems := Body([]byte(`{"s":"é","n":null,"i":5.0,"o":{ "a" : 1 },"l":["a","b"],"w":"x"}`), "body")
	if problems != nil {
		t.Fatal(problems)
	}
	s := o.String("s", StringRule{Required: true, Min: 1, Max: 1, MaxBytes: 2, Pattern: regexp.MustCompile("^é$")})
	n := o.String("n", StringRule{})
	i := o.Int("i", 5, 5)
	absent := o.Int("absent", 0, 1)
	d := o.JSONObject("o")
	l := o.Strings("l", 2, StringRule{Max: 1})
	w := o.OneOf("w", "x", "y")
	if p := o.Done(); p != nil {
		t.Fatal(p)
	}
	if s == nil || *s != "é" || n != nil || i == nil || *i != 5 || absent != nil || string(d.Raw()) != `{ "a" : 1 }` || !reflect.DeepEqual(l, []string{"a", "b"}) || w != "x" {
		t.Errorf("got %v %v %v %v %s %v %q", s, n, i, absent, d.Raw(), l, w)
	}
}

// The list has the upstream framework's shape, and a long input is not sent back whole.
func TestProblems(t *testing.T) {
	long := strings.Repeat("é", 2000)
	o, _ := Body([]byte(`{"i":"5","s":"`+long+`","x":1e999}`), "body")
	o.Int("i", 1, 2)
	o.String("s", StringRule{Max: 10})
	text, err := json.Marshal(o.Done())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"type":"int_type","loc":["body","i"],"msg":"Input should be a valid integer","input":"5"},` +
		`{"type":"string_too_long","loc":["body","s"],"msg":"String should have at most 10 characters","input":"\"` + strings.Repeat("é", 99) + `…","ctx":{"max_length":10}},` +
		`{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted","input":"1e999"}]`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
