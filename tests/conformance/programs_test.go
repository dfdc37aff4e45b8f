package conformance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/tests/need"
)

// language is one that programs are written in.
type language struct {
	name    string // of the image, and of the daemon's job type
	dir     string // of its programs
	suffix  string // of their files
	comment string
	argv    []string // the native way
	kinds   []string // those that must be covered, each by variantsOfEach programs at least
	// everyday is how many variants of each kind run on a daemon without TSUBO_FULL.
	everyday int
}

var python = language{
	name: "python", dir: "programs", suffix: ".py", comment: "#:", argv: []string{"python3", "-u", "/code/main.py"},
	kinds: strings.Fields("main argv file traceback input exit osexit unhandled systemexit threads daemon atexit del subprocess signal " +
		"unbuffered encoding big recursion syntax multiprocessing"),
	everyday: variantsOfEach,
}

var node = language{
	name: "node", dir: "programs-node", suffix: ".js", comment: "//:", argv: []string{"node", "/code/main.js"},
	kinds:    strings.Fields("main argv error stack reject exit output stdin timers fs worker child signal import text"),
	everyday: 1,
}

const variantsOfEach = 4

// program is one file of a language's programs.
type program struct {
	language language
	name     string
	code     string
	args     []string
	stdin    string
}

// shared reports whether the program needs a job type with shared memory.
func (p program) shared() bool { return p.kind() == "multiprocessing" }

// kind is the first word of its name.
func (p program) kind() string {
	kind, _, _ := strings.Cut(p.name, "-")
	return kind
}

func (l language) programs(t *testing.T) []program {
	t.Helper()
	files, err := filepath.Glob(l.dir + "/*" + l.suffix)
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
		p := program{language: l, name: strings.TrimSuffix(filepath.Base(f), l.suffix), code: string(b)}
		first, _, _ := strings.Cut(p.code, "\n")
		if args, found := strings.CutPrefix(first, l.comment+" args "); found {
			if err := json.Unmarshal([]byte(args), &p.args); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
		if stdin, found := strings.CutPrefix(first, l.comment+" stdin "); found {
			if err := json.Unmarshal([]byte(stdin), &p.stdin); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
		count[p.kind()]++
		list = append(list, p)
	}
	for _, k := range l.kinds {
		if count[k] < variantsOfEach {
			t.Errorf("%d %s programs of the kind %s, want %d", count[k], l.name, k, variantsOfEach)
		}
	}
	return list
}

// layout finds the language's image: below $TSUBO_IMAGE_LAYOUTS, in the VM, or what `make image-…`
// made. The image of the default language is required, another where the environment reports it.
func (l language) layout(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("TSUBO_IMAGE_LAYOUTS"), "/opt/tsubo/images", "/opt/tsubo/more-images", "../../build/images"} {
		if dir == "" {
			continue
		}
		dir = filepath.Join(dir, l.name)
		if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
			return dir
		}
	}
	if l.name == python.name {
		t.Fatal("no OCI layout of the Python image")
	}
	need.That(t, "image-"+l.name, false)
	return ""
}

// outcome is what a program gave.
type outcome struct {
	stdout, stderr string
	status         int
}

// own is what changes from one process to the next: addresses, and the process id in Node's
// warnings.
var own = regexp.MustCompile(`0x[0-9a-f]{6,}|\(node:[0-9]+\)`)

// differ compares all but that, and shows the first line that is not the same.
func differ(t *testing.T, got, want outcome) {
	t.Helper()
	if got.status != want.status {
		t.Errorf("exit code %d, native %d", got.status, want.status)
	}
	for _, s := range []struct{ name, got, want string }{{"stdout", got.stdout, want.stdout}, {"stderr", got.stderr, want.stderr}} {
		s.got, s.want = own.ReplaceAllString(s.got, "…"), own.ReplaceAllString(s.want, "…")
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
