package frames

import "strconv"

// Code says what is wrong with a frame.
type Code uint8

// Codes of an Error.
const (
	BadLength    Code = 1 // zero, or over the cap
	BadType      Code = 2 // not known
	BadDirection Code = 3 // known, but never sent by that side
	BadPayload   Code = 4 // a field that does not decode, is out of its range, or is followed by more
	OverBudget   Code = 5 // more bytes in all than the reader was given
	CutShort     Code = 6 // end of file inside a frame
)

var codes = [...]string{BadLength: "bad length", BadType: "unknown type", BadDirection: "wrong direction",
	BadPayload: "bad payload", OverBudget: "over the byte budget", CutShort: "cut short"}

// Error is a frame that breaks the rules. After one, the connection cannot be used any more.
type Error struct {
	Code   Code
	Type   Type   // of the frame, 0 when unknown
	Length int64  // as announced, or as encoded
	Field  string // of a BadPayload
}

// Error implements error. It holds no byte of a payload.
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
