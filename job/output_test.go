package job

import (
	"strings"
	"testing"
)

func TestParseOutput(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": [1, 2.50, 1e400], "b": "\u00e9"}`: `{"a":[1,2.50,1e400],"b":"\u00e9"}`,
		`[1, "x"]`:                               `[1,"x"]`,
		` 12345678901234567890 `:                 `12345678901234567890`,
		`"text"`:                                 `"text"`,
		`false`:                                  `false`,
		`null`:                                   ``,
		``:                                       ``,
		`{"a":1`:                                 ``,
		`{"a":1} x`:                              ``,
		`NaN`:                                    ``,
		"\xef\xbb\xbf{}":                         ``,
		"\"\xff\"":                               ``,
		strings.Repeat("[", 500) + strings.Repeat("]", 500):             strings.Repeat("[", 500) + strings.Repeat("]", 500),
		strings.Repeat("[", 501) + strings.Repeat("]", 501):             ``,
		strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000): ``,
		`"` + strings.Repeat("[", 600) + `\"` + `"`:                     `"` + strings.Repeat("[", 600) + `\"` + `"`,
	} {
		if got := string(ParseOutput([]byte(in))); got != want {
			t.Errorf("ParseOutput(%.60q) = %.60q, want %.60q", in, got, want)
		}
	}
}
