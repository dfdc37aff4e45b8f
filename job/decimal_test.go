package job

import (
	"encoding/json"
	"math"
	"testing"
)

func TestDecimal(t *testing.T) {
	for in, want := range map[float64]string{0: "0.0", 1: "1.0", -3: "-3.0", 0.5: "0.5", 1764576000: "1764576000.0", 1e30: "1e+30", 0.01: "0.01"} {
		if b, err := json.Marshal(Decimal(in)); err != nil || string(b) != want {
			t.Errorf("%v: %s, %v; want %s", in, b, err, want)
		}
	}
	if _, err := json.Marshal(Decimal(math.NaN())); err == nil {
		t.Error("NaN is written")
	}
	var d Decimal
	if err := json.Unmarshal([]byte("1.5"), &d); err != nil || d != 1.5 {
		t.Errorf("read %v, %v", d, err)
	}
}

func TestSeconds(t *testing.T) {
	for ms, want := range map[int64]string{0: "0.0", 10: "0.01", 91: "0.091", 3011: "3.011", 1000: "1.0", -5: "-0.005", math.MaxInt64: "9223372036854776.0"} {
		if b, err := json.Marshal(Seconds(ms)); err != nil || string(b) != want {
			t.Errorf("%d ms: %s, %v; want %s", ms, b, err, want)
		}
	}
}
