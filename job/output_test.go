package job

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseOutput(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	digits := strings.Repeat("9", maxOutputDigits)
	for in, want := range map[string]struct{ output, fault string }{
		`{"a": [1, 2.50, 1e400], "b": "\u00e9"}`: {`{"a":[1,2.50,1e400],"b":"\u00e9"}`, ""},
		`[1, "x"]`:                               {`[1,"x"]`, ""},
		` 12345678901234567890 `:                 {`12345678901234567890`, ""},
		`"text"`:                                 {`"text"`, ""},
		"42\n":                                   {`42`, ""},
		`false`:                                  {`false`, ""},
		`null`:                                   {``, ""},
		"\xef\xbb\xbf{\"excel\": 1}":             {`{"excel":1}`, ""},
		`{"a":1,"a":2}`:                          {`{"a":1,"a":2}`, ""},

		``:                          {``, "result.json is empty"},
		" \n":                       {``, "result.json is empty"},
		`{"a":1`:                    {``, "unexpected end of JSON input, line 1, column 6"},
		`{"a":1} x`:                 {``, "line 1, column 9"},
		"{\n 'not': 'json'}":        {``, "line 2, column 2"},
		`{"é": nope}`:               {``, "line 1, column 8"},
		`NaN`:                       {``, "result.json is not JSON: NaN, line 1, column 1"},
		`{"loss": NaN}`:             {``, "NaN, line 1, column 10"},
		`[1, Infinity]`:             {``, "Infinity, line 1, column 5"},
		`[1, -Infinity]`:            {``, "Infinity, line 1, column 6"},
		"\"\xff\"":                  {``, "result.json is not UTF-8: line 1, column 2"},
		"\"x\ufffd\n\xed\xa0\x80\"": {``, "result.json is not UTF-8: line 2, column 1"},

		deep(500):       {deep(500), ""},
		deep(501):       {``, "nested deeper than 500"},
		deep(1_000_000): {``, "result.json"},
		`"` + strings.Repeat("[", 600) + `\"` + `"`: {`"` + strings.Repeat("[", 600) + `\"` + `"`, ""},

		digits:                           {digits, ""},
		digits + "1":                     {``, "more than 4300 digits"},
		`{"a": -0.` + digits + `}`:       {``, "more than 4300 digits"},
		`["` + digits + `9", 1, ` + "2]": {`["` + digits + `9",1,2]`, ""},
		`[` + digits[:3000] + `,` + digits[:3000] + `]`: {`[` + digits[:3000] + `,` + digits[:3000] + `]`, ""},

		`{"half": "x\ud83d-y", "whole": "\ud83d\ude00"}`: {`{"half":"x\ufffd-y","whole":"\ud83d\ude00"}`, "1 lone surrogates"},
		`["\udc00", "\ud83d", "\uD83D\u0041", "\ud83d\ud83d\ude00"]`: {
			`["\ufffd","\ufffd","\ufffd\u0041","\ufffd\ud83d\ude00"]`, "4 lone surrogates"},
		`["\\ud83d", "\"\\"]`: {`["\\ud83d","\"\\"]`, ""},
		`{"\ud800": 1}`:       {`{"\ufffd":1}`, "1 lone surrogates"},
	} {
		got, fault := ParseOutput([]byte(in))
		if string(got) != want.output || (fault == "") != (want.fault == "") || !strings.Contains(fault, want.fault) {
			t.Errorf("ParseOutput(%.60q) = %.60q, %q; want %.60q, %q", in, got, fault, want.output, want.fault)
		}
	}
}

// FuzzParseOutput: what comes out is JSON in which no surrogate is alone, and is taken again as it
// is.
func FuzzParseOutput(f *testing.F) {
	for _, s := range []string{`{"a": "\ud83d\ude00\ud83d"}`, `[1e5, NaN]`, "\xef\xbb\xbf0", `"\\u"`, `{"a":[]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, _ := ParseOutput(data)
		if out == nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%q is no JSON", out)
		}
		again, fault := ParseOutput(out)
		if string(again) != string(out) || fault != "" {
			t.Fatalf("%q becomes %q, %s", out, again, fault)
		}
	})
}
