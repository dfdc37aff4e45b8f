package conformance

import (
	"testing"

	"github.com/tsubo-run/tsubo/tests/guesttest"
	"github.com/tsubo-run/tsubo/tests/need"
)

func TestMain(m *testing.M) { guesttest.Main(m) }

// TestGuest compares the two ways that tsubo-init can run a program: handed to an interpreter that
// waits, and started as a command. Under runsc it does so where there is no daemon for TestDaemon,
// which says more and needs half the boots.
func TestGuest(t *testing.T) {
	for name, o := range map[string]func(*testing.T) guesttest.Options{
		"native": func(t *testing.T) guesttest.Options { need.Root(t); return guesttest.Options{} },
		"runsc":  func(t *testing.T) guesttest.Options { return guesttest.Options{Runsc: need.Runsc(t)} },
	} {
		if name == "runsc" && served() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			o := o(t)
			o.Cwd = "/tmp"
			t.Run("python", func(t *testing.T) { inBothWays(t, o, python) })
			if name == "native" && strict() {
				return // the daemon's comparison is of the same interpreter, and an emulated one is slow
			}
			t.Run("node", func(t *testing.T) {
				o.Node, o.Root = true, unpack(t, node.layout(t)).root
				inBothWays(t, o, node)
			})
		})
	}
}

func inBothWays(t *testing.T, waiting guesttest.Options, l language) {
	command := waiting
	command.Argv = l.argv
	// The group returns when its parallel tests have ended, and before the image is taken away.
	t.Run("programs", func(t *testing.T) {
		for _, p := range l.programs(t) {
			if p.shared() && (waiting.Runsc != "" || strict()) {
				continue // guesttest's sandbox has no shared memory under runsc, and what starts many interpreters is slow where they are emulated
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				differ(t, inGuest(t, waiting, p), inGuest(t, command, p))
			})
		}
	})
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
