package job

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxRequirements is how many requirements a job may have, those of its type included (wire.md
// 5.2).
const MaxRequirements = 50

// RequirementsDisabled is the message of a run with requirements, which tsubo does not install
// (wire.md 5.3).
const RequirementsDisabled = "Runtime dependency installation is disabled. Use an image that has the packages."

var requirementRE = func() *regexp.Regexp {
	const name, version = `[A-Za-z0-9][A-Za-z0-9._-]*`, `[<>=!~]+[A-Za-z0-9.*+!-]+`
	return regexp.MustCompile(`^` + name + `(\[` + name + `(,` + name + `)*\])?(` + version + `(,` + version + `)*,?)?$`)
}()

// CheckRequirement is wire.md 5.2, with one thing more: a name begins with a letter or a digit, so
// that no requirement can be read as an option by an installer.
func CheckRequirement(r string) error {
	if len(r) < 1 || len(r) > 256 || !requirementRE.MatchString(r) {
		return fmt.Errorf("Invalid requirement %q: must be a name with optional [extras] and version bounds, without spaces, URLs or markers", //nolint:staticcheck // shown to callers as a sentence
			clip(r, 64))
	}
	return nil
}

// clip keeps the first n bytes of a text that is shown back to whoever sent it.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
