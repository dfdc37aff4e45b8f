package runsc

import "regexp"

// Pinned is the version that tsubo is built and tested with: the requirement in tools/go.mod.
const Pinned = "v0.0.0-20260905035102-160fafc42237"

// day finds the day of a build in a pseudo-version of Go or in the name of a release.
var day = regexp.MustCompile(`^(?:release-|v[0-9.]+-)(2[0-9]{7})`)

// Outdated reports whether a version, as [Runsc.Version] returns it, is older than Pinned or names no day that could be
// compared. What was fixed in gVisor since then is missing in such a build.
func Outdated(version string) bool {
	theirs, ours := day.FindStringSubmatch(version), day.FindStringSubmatch(Pinned)
	return theirs == nil || theirs[1] < ours[1]
}
