package frames

import "strconv"

// Code classifies an Error.
type Code uint8

// The codes of an Error.
const (
	BadLength    Code = 1 // zero, or over the cap
	BadType      Code = 2 // unknown
	BadDirection Code = 3 // known, but never sent by that side
	BadPayload   Code = 4 // a field that does not decode or is out of range, or trailing bytes
	OverBudget   Code = 5 // more bytes than the reader's budget
	CutShort     Code = 6 // EOF inside a frame
)

var codes = [...]string{BadLength: "bad length", BadType: "unknown type", BadDirection: "wrong direction",
	BadPayload: "bad payload", OverBudget: "over the byte budget", CutShort: "cut short"}

// Error reports a frame that breaks the rules. Afterwards the connection is unusable.
type Error struct {
	Code   Code
	Type   Type   // the frame's type; 0 means unknown
	Length int64  // the announced or encoded length
	Field  string // the invalid field of a BadPayload
}

// Error implements error. The text contains no byte of a payload.
func (e *Error) Error() string {
	s := "frame: unknown error"
	if e.Code != 0 && int(e.Code) < len(codes) {
		s = "frame: " + codes[e.Code]
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + " (type " + strconv.Itoa(int(e.Type)) + ", length " + strconv.FormatInt(e.Length, 10) + ")"
}
