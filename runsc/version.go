package runsc

import "regexp"

// Pinned is the version that tsubo is built and tested with, as required in tools/go.mod.
const Pinned = "v0.0.0-20260905035102-160fafc42237"

// day matches the build date in a Go pseudo-version or in a release name.
var day = regexp.MustCompile(`^(?:release-|v[0-9.]+-)(2[0-9]{7})`)

// Outdated reports whether a version, as [Runsc.Version] returns it, is older than Pinned or
// contains no date. Such a build lacks gVisor's later fixes.
func Outdated(version string) bool {
	theirs, ours := day.FindStringSubmatch(version), day.FindStringSubmatch(Pinned)
	return theirs == nil || theirs[1] < ours[1]
}
