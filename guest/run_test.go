package guest_test

import (
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
)

func TestHello(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		r := s.Run(guesttest.Job{
			Code: "import sys\nprint('hello', sys.argv, __file__, __name__, input())\n" +
				"print('oops', file=sys.stderr)\nsys.exit(3)\n",
			Args:  []string{"a", "b c"},
			Stdin: "line\n",
		})
		if r.Stdout != "hello ['/code/main.py', 'a', 'b c'] /code/main.py __main__ line\n" || r.Stderr != "oops\n" ||
			r.Status() != 3 ||
			!r.Started ||
			r.Done == nil {
			t.Errorf("%+v", r)
		}
		t.Logf("boot %v, job %v", s.Booted, r.Took)
	})
}
