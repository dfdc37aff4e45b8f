package seccomp

import (
	"embed"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// syscallTables has the names that the pinned runsc knows, one per line, as `runsc help syscalls`
// prints them. A test compares them with the binary.
//
//go:embed syscalls/*.txt
var syscallTables embed.FS

// known returns the names of runsc's table for arch, and whether there is such a table.
func known(arch string) (map[string]bool, bool) {
	data, err := syscallTables.ReadFile("syscalls/" + arch + ".txt")
	if err != nil {
		return nil, false
	}
	names := map[string]bool{}
	for name := range strings.FieldsSeq(string(data)) {
		names[name] = true
	}
	return names, true
}

// operators are the comparisons that runsc supports.
var operators = []specs.LinuxSeccompOperator{
	specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual,
	specs.OpMaskedEqual,
}

// Validate returns an error for a profile, such as an operator's own, that runsc would not load as
// written: unknown names (dropped), another errno (ignored), a foreign architecture, an unsupported
// action, a permissive default. All faults are joined. A nil error means that runsc loads the
// profile as written, not that the profile is strict. The probes of [Discriminating] prove its
// effect.
func Validate(s *specs.LinuxSeccomp) error { return validateFor(runtime.GOARCH, s) }

func validateFor(arch string, s *specs.LinuxSeccomp) error {
	if s == nil {
		return errors.New("seccomp profile: missing")
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("seccomp profile: "+format, args...)) }

	names, ok := known(arch)
	if !ok {
		return fmt.Errorf("seccomp profile: architecture %q is not supported", arch)
	}
	if s.DefaultAction != specs.ActErrno {
		fail("defaultAction %q: must be %s", s.DefaultAction, specs.ActErrno)
	}
	checkErrno := func(where string, errno *uint) {
		if errno != nil && *errno != uint(unix.EPERM) {
			fail("%s %d: runsc always returns EPERM (%d)", where, *errno, uint(unix.EPERM))
		}
	}
	checkErrno("defaultErrnoRet", s.DefaultErrnoRet)
	if !slices.Equal(s.Architectures, []specs.Arch{architectures[arch]}) {
		fail("architectures %q: must be exactly [%s]", s.Architectures, architectures[arch])
	}
	if len(s.Flags) > 0 || s.ListenerPath != "" || s.ListenerMetadata != "" {
		fail("flags and listeners are not supported")
	}
	if len(s.Syscalls) == 0 {
		fail("syscalls: empty, nothing could run")
	}

	unconditional := map[string]bool{}
	conditional := map[string]bool{}
	for i, rule := range s.Syscalls {
		where := fmt.Sprintf("syscalls[%d]", i)
		if rule.Action != specs.ActAllow && !unimplemented(rule) {
			fail("%s: action %q: an allow-list has only %s, and %s only for %s", where, rule.Action, specs.ActAllow,
				specs.ActTrace, cloneByPointer)
		}
		checkErrno(where+".errnoRet", rule.ErrnoRet)
		if len(rule.Names) == 0 {
			fail("%s: no names", where)
		}
		for _, name := range rule.Names {
			switch {
			case !names[name]:
				fail("%s: runsc does not know %q and would drop it", where, name)
			case len(rule.Args) > 0:
				conditional[name] = true
			case unconditional[name]:
				fail("%s: %q is listed twice", where, name)
			default:
				unconditional[name] = true
			}
		}
		seen := map[uint]bool{}
		for _, arg := range rule.Args {
			if arg.Index > 5 {
				fail("%s: argument index %d: a system call has 0 to 5", where, arg.Index)
			}
			if seen[arg.Index] {
				fail("%s: two conditions on argument %d, which would mean either: write two entries", where, arg.Index)
			}
			seen[arg.Index] = true
			if !slices.Contains(operators, arg.Op) {
				fail("%s: operator %q is not known", where, arg.Op)
			}
			if arg.Op != specs.OpMaskedEqual && arg.ValueTwo != 0 {
				fail("%s: valueTwo without %s", where, specs.OpMaskedEqual)
			}
			if arg.Op == specs.OpMaskedEqual && arg.ValueTwo&^arg.Value != 0 {
				fail("%s: %#x can never equal anything masked by %#x", where, arg.ValueTwo, arg.Value)
			}
		}
	}
	for name := range conditional {
		if unconditional[name] {
			fail("%q is allowed with and without conditions, so the conditions mean nothing", name)
		}
	}
	return errors.Join(errs...)
}
