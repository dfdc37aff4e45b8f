package runsc

import (
	"os"
	"strings"
	"testing"
)

func TestTranslated(t *testing.T) {
	for name, c := range map[string]struct {
		cpuinfo string
		want    bool
	}{
		"tcg":           {"processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\n", true},
		"a real one":    {"processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\nflags\t\t: fpu vmx\n", false},
		"only in flags": {"model name\t: AMD EPYC\nflags\t\t: QEMU TCG CPU\n", false},
		"kvm":           {"model name\t: QEMU Virtual CPU version 2.5+\n", false},
		"no name":       {"processor\t: 0\n", false},
		"nothing":       {"", false},
	} {
		if got := translated(strings.NewReader(c.cpuinfo)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestFindEmulated checks that Find sets NoSyscallPatching exactly on an emulated processor.
func TestFindEmulated(t *testing.T) {
	path, top := fake(t, "true")
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Contains(string(info), "QEMU TCG"); r.Flags.NoSyscallPatching != want {
		t.Errorf("NoSyscallPatching %v, want %v", r.Flags.NoSyscallPatching, want)
	}
}
