package umount

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestUmount runs this test's binary as runsc runs the sentry binary, in a mount namespace of its own.
func TestUmount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tt := range []struct{ name, script string }{
		{"a byte comes", `printf x | { "$0" umount --sync-fd=3 /proc 3<&0 && ! test -e /proc/self; }`},
		{"the other end is closed", `"$0" umount --sync-fd=3 /proc 3</dev/null; test $? = 1 && test -e /proc/self`},
		{"/proc is no mount", `umount -l /proc; printf x | "$0" umount --sync-fd=3 /proc 3<&0; test $? = 1`},
		{"anything else is left to runsc", `"$0" umount --sync-fd=3 /sys 3</dev/null; test $? = 0 && test -e /sys/kernel`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", tt.script, os.Args[0])
			cmd.Env = []string{"PATH=/usr/bin:/bin", asRunsc + "=1"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// asRunsc, in the environment, has this binary end with 0 where runsc's main would begin.
const asRunsc = "TSUBO_TEST_AS_RUNSC"

func TestMain(m *testing.M) {
	if os.Getenv(asRunsc) != "" {
		return
	}
	os.Exit(m.Run())
}
