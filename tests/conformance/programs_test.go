package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// kinds are those that must be covered, each by variantsOfEach programs at least.
var kinds = strings.Fields("main argv file traceback input exit osexit unhandled systemexit threads daemon atexit del subprocess signal " +
	"unbuffered encoding big recursion syntax")

const variantsOfEach = 4

// program is one file of programs/.
type program struct {
	name  string
	code  string
	args  []string
	stdin string
}

// plain programs need nothing but their code.
func (p program) plain() bool { return len(p.args) == 0 && p.stdin == "" }

// kind is the first word of its name.
func (p program) kind() string {
	kind, _, _ := strings.Cut(p.name, "-")
	return kind
}

func programs(t *testing.T) []program {
	t.Helper()
	files, err := filepath.Glob("programs/*.py")
	if err != nil {
		t.Fatal(err)
	}
	var list []program
	count := map[string]int{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := program{name: strings.TrimSuffix(filepath.Base(f), ".py"), code: string(b)}
		first, _, _ := strings.Cut(p.code, "\n")
		if args, found := strings.CutPrefix(first, "#: args "); found {
			if err := json.Unmarshal([]byte(args), &p.args); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
		if stdin, found := strings.CutPrefix(first, "#: stdin "); found {
			if err := json.Unmarshal([]byte(stdin), &p.stdin); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
		if p.plain() {
			count[p.kind()]++
		}
		list = append(list, p)
	}
	for _, k := range kinds {
		if count[k] < variantsOfEach {
			t.Errorf("%d programs of the kind %s, want %d", count[k], k, variantsOfEach)
		}
	}
	return list
}

// outcome is what a program gave.
type outcome struct {
	stdout, stderr string
	status         int
}

// address is what changes from one process to the next.
var address = regexp.MustCompile(`0x[0-9a-f]{6,}`)

// differ compares all but addresses, and shows the first line that is not the same.
func differ(t *testing.T, got, want outcome) {
	t.Helper()
	if got.status != want.status {
		t.Errorf("exit code %d, native %d", got.status, want.status)
	}
	for _, s := range []struct{ name, got, want string }{{"stdout", got.stdout, want.stdout}, {"stderr", got.stderr, want.stderr}} {
		s.got, s.want = address.ReplaceAllString(s.got, "0x…"), address.ReplaceAllString(s.want, "0x…")
		if s.got == s.want {
			continue
		}
		g, w := strings.Split(s.got, "\n"), strings.Split(s.want, "\n")
		i := 0
		for i < len(g) && i < len(w) && g[i] == w[i] {
			i++
		}
		t.Errorf("%s differs from line %d on:\n%s\nnative:\n%s", s.name, i+1, excerpt(g[i:]), excerpt(w[i:]))
	}
}

func excerpt(lines []string) string {
	s := strings.Join(lines[:min(len(lines), 5)], "\n")
	return s[:min(len(s), 1000)]
}
