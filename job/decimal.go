package job

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Decimal is a number that stands in JSON with a decimal point also when it is whole (ruling 29):
// clients that are typed by an example take 1 for an integer and then refuse 1.5.
type Decimal float64

// MarshalJSON implements json.Marshaler. A number that JSON cannot hold is an error.
func (d Decimal) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(float64(d))
	if err == nil && !bytes.ContainsAny(b, ".e") {
		b = append(b, ".0"...)
	}
	return b, err
}

// Seconds is a number of milliseconds in seconds, without the noise that adding fractions leaves.
func Seconds(ms int64) Decimal {
	s, err := strconv.ParseFloat(strconv.FormatInt(ms, 10)+"e-3", 64)
	if err != nil {
		return 0 // no number of digits that an int64 has is out of range
	}
	return Decimal(s)
}
