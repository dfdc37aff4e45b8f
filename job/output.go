package job

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxOutputDepth bounds the nesting of a result: common JSON readers give up not far beyond it.
const maxOutputDepth = 500

// ParseOutput is what /output/result.json says: its JSON value, compact, with the text of its numbers kept, or nil when it holds none (not
// JSON, not UTF-8, a byte order mark, NaN, nested deeper than 500, or null).
func ParseOutput(data []byte) json.RawMessage {
	if !utf8.Valid(data) || !json.Valid(data) || tooDeep(data) {
		return nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil || out.String() == "null" {
		return nil
	}
	return out.Bytes()
}

// tooDeep looks at valid JSON.
func tooDeep(data []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxOutputDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
