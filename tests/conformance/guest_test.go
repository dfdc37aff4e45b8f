package conformance

import (
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
)

func TestMain(m *testing.M) { guesttest.Main(m) }

// TestGuest compares the two ways that tsubo-init can run a program: handed to an interpreter that waits, and started as a command. Under
// runsc it does so where there is no daemon for TestDaemon, which says more and needs half the boots.
func TestGuest(t *testing.T) {
	for name, o := range map[string]func(*testing.T) guesttest.Options{
		"native": func(t *testing.T) guesttest.Options { guesttest.Root(t); return guesttest.Options{} },
		"runsc":  func(t *testing.T) guesttest.Options { return guesttest.Options{Runsc: guesttest.Runsc(t)} },
	} {
		if name == "runsc" && served() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			waiting := o(t)
			waiting.Cwd = "/tmp"
			command := waiting
			command.Argv = []string{"python3", "-u", "/code/main.py"}
			for _, p := range programs(t) {
				t.Run(p.name, func(t *testing.T) {
					t.Parallel()
					differ(t, inGuest(t, waiting, p), inGuest(t, command, p))
				})
			}
		})
	}
}

func inGuest(t *testing.T, o guesttest.Options, p program) outcome {
	t.Helper()
	j := guesttest.Job{Code: p.code, Args: p.args, Stdin: p.stdin}
	r := guesttest.Boot(t, o).Run(j)
	if r.Exit == nil || r.Done == nil || r.Fatal != nil {
		t.Fatalf("conversation: %+v", r)
	}
	return outcome{r.Stdout, r.Stderr, r.Status()}
}
