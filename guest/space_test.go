package guest_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
)

var addressSpaceRE = regexp.MustCompile(`(?m)^Max address space +(\S+)`)

// The limit of the address space is soft. It applies to the job and its children, but not to init.
func TestAddressSpace(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		o.AddressSpace = 1 << 30
		out := python(t, o, `
import resource, subprocess, sys
print(resource.getrlimit(resource.RLIMIT_AS)[0], flush=True)
try:
    b"x" * (1 << 45)
except MemoryError:
    print("refused", flush=True)
if len(sys.argv) == 1:
    subprocess.run([sys.executable, "-S", __file__, "child"])
    resource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)
    print(resource.getrlimit(resource.RLIMIT_AS)[0])
`)
		if out != "1073741824\nrefused\n1073741824\nrefused\n-1\n" {
			t.Errorf("%q", out)
		}
		if o.Runsc != "" {
			return // init is not a process of this kernel
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", guesttest.Boot(t, o).Pid()))
		if err != nil {
			t.Fatal(err)
		}
		if m := addressSpaceRE.FindSubmatch(b); m == nil || string(m[1]) != "unlimited" {
			t.Errorf("init: %s", b)
		}
	})
}
