package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	// maxOutputDepth bounds the nesting of a result: common JSON readers give up not far beyond it.
	maxOutputDepth = 500
	// maxOutputDigits bounds the digits of one number of a result: with more, CPython's json
	// refuses the whole answer.
	maxOutputDigits = 4300
)

// ParseOutput returns the JSON value that result.json holds, compact, with the text of its numbers
// kept (ruling 25). It is nil when the file holds null or no JSON, and fault then names what is
// wrong and where. A byte order mark is passed over. A lone surrogate becomes U+FFFD, which fault
// reports beside the value. Whatever is returned can be read by a strict parser.
func ParseOutput(data []byte) (output json.RawMessage, fault string) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, "result.json is empty"
	}
	if !utf8.Valid(data) {
		at := 0
		for at < len(data) {
			r, n := utf8.DecodeRune(data[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return nil, "result.json is not UTF-8: " + place(data, at)
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(data, new(json.RawMessage)); errors.As(err, &syntax) {
		at := max(0, int(syntax.Offset)-1)
		for _, word := range []string{"NaN", "Infinity"} { // of -Infinity the minus was still good
			if bytes.HasPrefix(data[at:], []byte(word)) {
				return nil, "result.json is not JSON: " + word + ", " + place(data, at)
			}
		}
		return nil, "result.json is not JSON: " + syntax.Error() + ", " + place(data, at)
	} else if err != nil {
		return nil, "result.json is not JSON: " + Sanitize(err.Error())
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, "result.json is not JSON: " + Sanitize(err.Error())
	}
	if out.String() == "null" {
		return nil, ""
	}
	lone, fault := scanOutput(out.Bytes())
	switch {
	case fault != "":
		return nil, fault
	case lone > 0:
		return out.Bytes(), "result.json: " + strconv.Itoa(lone) + " lone surrogates, which no JSON reader takes, were replaced by U+FFFD"
	}
	return out.Bytes(), ""
}

// place names a byte of a text by line and column, both counted from 1, the column in characters.
func place(data []byte, at int) string {
	before := data[:min(at, len(data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// scanOutput looks through valid, compact JSON. It replaces lone surrogates in place and returns
// how many there were, and names what makes the value unfit.
func scanOutput(data []byte) (lone int, fault string) {
	depth, digits := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; data[i] != '"'; i++ {
				if data[i] != '\\' {
					continue
				}
				i++
				if data[i] != 'u' {
					continue
				}
				switch unit := hexUnit(data[i-1:]); {
				case unit >= 0xd800 && unit < 0xdc00 && hexUnit(data[i+5:])&^0x3ff == 0xdc00:
					i += 6 // a pair; the loop goes on behind its first half's escape
				case unit >= 0xd800 && unit < 0xe000:
					copy(data[i+1:], "fffd")
					lone++
				}
				i += 4
			}
		case c == '{' || c == '[':
			if depth++; depth > maxOutputDepth {
				return 0, fmt.Sprintf("result.json is nested deeper than %d", maxOutputDepth)
			}
		case c == '}' || c == ']':
			depth--
		case c >= '0' && c <= '9':
			if digits++; digits > maxOutputDigits {
				return 0, fmt.Sprintf("result.json has a number of more than %d digits", maxOutputDigits)
			}
			continue
		case c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-':
			continue // in a number, or a letter of true and false
		}
		digits = 0
	}
	return lone, ""
}

// hexUnit is the code unit that b's \uXXXX escape stands for, -1 when there is none.
func hexUnit(b []byte) int {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}
