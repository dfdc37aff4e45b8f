package job

import (
	"regexp"
	"strings"
)

var sanitizers = []struct {
	re   *regexp.Regexp
	with string
}{
	// wire.md 5.6. A path ends at white space, a quote or a bracket.
	{regexp.MustCompile(`/tmp/job-[^\s/'"<>()]*`), "/tmp/job-***"},
	{regexp.MustCompile(`/var/folders/[^\s'"<>()]*`), "/var/folders/***"},
	{regexp.MustCompile(`/(?:Users|home)/[^\s/'"<>()]+`), "/home/***"},
	{regexp.MustCompile(`/app/[^\s'"<>()]*`), "/app/***"},
	// tsubo's own directories.
	{regexp.MustCompile(`/(var/lib/tsubo|run/tsubo|var/cache/tsubo|etc/tsubo|sys/fs/cgroup|proc/[0-9]+)(?:/[^\s'"<>()]*)?`), "/$1/***"},
	{regexp.MustCompile(`\b(?:10(?:\.[0-9]{1,3}){3}|172(?:\.[0-9]{1,3}){3}|192\.168(?:\.[0-9]{1,3}){2})\b`), "***.***.***.***"},
}

// A digest with its algorithm names content, which whoever sent an image knows: no container.
var longHex = regexp.MustCompile(`(?:\bsha256:)?\b[0-9a-f]{64}\b`)

var shortHex = regexp.MustCompile(`\b[0-9a-f]{12}\b`)

// Sanitize is wire.md 5.6: it takes host paths, private addresses and container ids out of a text
// that goes into an error detail or an error message. It is never applied to stdout or stderr.
func Sanitize(s string) string {
	for _, z := range sanitizers {
		s = z.re.ReplaceAllString(s, z.with)
	}
	s = longHex.ReplaceAllStringFunc(s, func(w string) string {
		if strings.HasPrefix(w, "sha256:") {
			return w
		}
		return "<container-id>"
	})
	return shortHex.ReplaceAllStringFunc(s, func(w string) string {
		if !strings.ContainsAny(w, "abcdef") {
			return w
		}
		return "<container-id>"
	})
}
