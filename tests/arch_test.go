package tests

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const module = "github.com/tsubo-run/tsubo"

// mayImport is the package table of ARCHITECTURE.md: which packages of this module each one may
// import besides job. A package that is not listed fails the test, so that the table stays whole.
var mayImport = map[string][]string{
	"job":             {},
	"frames":          {},
	"seccomp":         {},
	"limits":          {},
	"netns":           {},
	"rootfs":          {},
	"images":          {"rootfs"},
	"bundle":          {},
	"runsc":           {},
	"guest":           {"frames"},
	"guest/hook":      {},
	"guest/canary":    {},
	"sandbox":         {"frames", "seccomp", "limits", "netns", "rootfs", "bundle", "runsc", "guest/canary"},
	"pool":            {"sandbox", "rootfs"},
	"store":           {},
	"scheduler":       {"scheduler/events", "scheduler/breaker"},
	"api":             {"api/strictjson"},
	"api/strictjson":  {},
	"client":          {},
	"config":          {},
	"keys":            {},
	"internal/daemon": {"*"},
	"internal/doctor": {"*"},
	"internal/owned":  {"config"},
	"internal/cli":    {"*"},
	"cmd/tsubod":      {"internal/daemon"},
	"cmd/tsubo":       {"internal/cli"},
	"cmd/tsubo-init":  {"guest", "guest/canary"},
	"tests":           {},

	"scheduler/breaker": {},
	"scheduler/events":  {},
}

type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no package")
	}
	return pkgs
}

func TestImportsGoDownward(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := mayImport[name]
		if !known {
			if strings.HasPrefix(name, "tests/") {
				continue
			}
			t.Errorf("%s is not in the package table", name)
			continue
		}
		ok := map[string]bool{"job": name != "job"}
		for _, a := range allowed {
			ok[a] = true
		}
		for _, imp := range p.Imports {
			ours, found := strings.CutPrefix(imp, module+"/")
			if found && !ok["*"] && !ok[ours] {
				t.Errorf("%s imports %s, which the package table does not allow", name, ours)
			}
		}
	}
}

func TestOnePackageCommentEach(t *testing.T) {
	for _, p := range listPackages(t) {
		var with []string
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatalf("parse %s: %v", f, err)
			}
			if file.Doc != nil {
				with = append(with, f)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s: package comment in %d files %v, want 1", p.ImportPath, len(with), with)
		}
	}
}

// Size limits of the house: a longer file or package reports why in its package comment ("long
// because …").
const (
	maxFileLines    = 600
	maxPackageLines = 1500
)

func TestFilesAndPackagesAreShort(t *testing.T) {
	for _, p := range listPackages(t) {
		total, longest, doc := 0, 0, ""
		for _, f := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.Count(src, []byte("\n"))
			total, longest = total+lines, max(longest, lines)
			file, err := parser.ParseFile(token.NewFileSet(), f, src, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			doc += file.Doc.Text()
		}
		if strings.HasPrefix(p.ImportPath, module+"/tests/") {
			total = 0 // a driver of many rounds is no package that others must understand
		}
		if (total > maxPackageLines || longest > maxFileLines) && !strings.Contains(doc, "long because") {
			t.Errorf("%s: %d lines, longest file %d: split it by noun or say \"long because …\" in the package comment",
				p.ImportPath, total, longest)
		}
	}
}

func TestNoTestHookInShippedCode(t *testing.T) {
	banned := regexp.MustCompile(`(?i)^(testing|.*fortest(s|ing)?)$`)
	for _, p := range listPackages(t) {
		if strings.HasPrefix(p.ImportPath, module+"/tests") {
			continue
		}
		for _, imp := range p.Imports {
			if imp == "testing" {
				t.Errorf("%s imports testing outside its tests", p.ImportPath)
			}
		}
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if id, isIdent := n.(*ast.Ident); isIdent && banned.MatchString(id.Name) {
					t.Errorf("%s/%s: identifier %s looks like a test hook", p.ImportPath, f, id.Name)
				}
				return true
			})
		}
	}
}

// A comment that cites a line number is wrong after the next edit: symbols are cited.
func TestNoLineNumbersCited(t *testing.T) {
	cite := regexp.MustCompile(`\.(go|py|sh):[0-9]+`)
	for _, p := range listPackages(t) {
		for _, f := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if m := cite.Find(src); m != nil {
				t.Errorf("%s/%s cites %s", p.ImportPath, f, m)
			}
		}
	}
}

// cited matches what comments and documents cite: a document, a section or ruling of docs/wire.md,
// an attack of docs/threat-model.md.
var cited = struct{ document, section, ruling, attack *regexp.Regexp }{
	regexp.MustCompile(`(?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_-]+\.md\b`),
	regexp.MustCompile(`wire\.md (?:section )?([1-9](?:\.[0-9]+)?)\b`),
	regexp.MustCompile(`\b[Rr]ulings? ((?:[0-9]+(?:, | and | to )?)+)`),
	regexp.MustCompile(`\battacks? ([A-Z][0-9]{2})\b`),
}

// TestCitationsExist: a comment, document or script cites nothing that a reader of this repository
// cannot find.
func TestCitationsExist(t *testing.T) {
	wire, model := readFile(t, "../docs/wire.md"), readFile(t, "../docs/threat-model.md")
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#{2,3} ([1-9](?:\.[0-9]+)?)\b`).FindAllStringSubmatch(wire, -1) {
		known["section "+m[1]] = true
	}
	_, validation, _ := strings.Cut(wire, "\n## 5. ")
	for _, m := range regexp.MustCompile(`(?m)^([0-9]+)\. `).FindAllStringSubmatch(validation, -1) {
		known["section 5."+m[1]] = true
	}
	rulings, _, _ := strings.Cut(wire, "\n## 1. ")
	for _, m := range regexp.MustCompile(`(?m)^([0-9]+)\. \*\*`).FindAllStringSubmatch(rulings, -1) {
		known["ruling "+m[1]] = true
	}
	known["ruling 21"] = strings.Contains(rulings, "\n21. ")
	for _, m := range regexp.MustCompile(`(?m)^- ([A-Z][0-9]{2}) `).FindAllStringSubmatch(model, -1) {
		known["attack "+m[1]] = true
	}
	if !known["section 1.4"] || !known["section 5.3"] || !known["ruling 30"] || !known["attack J02"] {
		t.Fatalf("docs/wire.md and docs/threat-model.md have another form than this test reads: %d entries", len(known))
	}
	for _, file := range tracked(t) {
		switch filepath.Ext(file) {
		case ".go", ".md", ".yaml", ".sh", ".py", ".js":
		default:
			continue
		}
		if strings.Contains(file, "testdata/") || file == "tests/arch_test.go" || strings.HasPrefix(file, "tests/conformance/programs") {
			continue
		}
		text := readFile(t, "../"+file)
		for _, name := range cited.document.FindAllString(text, -1) {
			if !exists("../"+name) && !exists("../docs/"+name) && !exists(filepath.Join("..", filepath.Dir(file), name)) {
				t.Errorf("%s cites %s, which is not in the repository", file, name)
			}
		}
		for _, m := range cited.section.FindAllStringSubmatch(text, -1) {
			if !known["section "+m[1]] {
				t.Errorf("%s cites section %s of docs/wire.md, which has none of that number", file, m[1])
			}
		}
		for _, m := range cited.ruling.FindAllStringSubmatch(text, -1) {
			for _, n := range regexp.MustCompile(`[0-9]+`).FindAllString(m[1], -1) {
				if !known["ruling "+n] {
					t.Errorf("%s cites ruling %s, which docs/wire.md does not have", file, n)
				}
			}
		}
		for _, m := range cited.attack.FindAllStringSubmatch(text, -1) {
			if !known["attack "+m[1]] {
				t.Errorf("%s cites attack %s, which docs/threat-model.md does not have", file, m[1])
			}
		}
	}
}

// tracked are the files of the repository, by their paths in it.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-co", "--exclude-standard")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSecurityTestsExist: every test that SECURITY.md names for a threat is there.
func TestSecurityTestsExist(t *testing.T) {
	there := map[string]bool{}
	for _, file := range tracked(t) {
		if strings.HasSuffix(file, "_test.go") {
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(readFile(t, "../"+file), -1) {
				there[m[1]] = true
			}
		}
	}
	named := regexp.MustCompile(`\bTest\w+`).FindAllString(readFile(t, "../SECURITY.md"), -1)
	if len(named) < 20 {
		t.Errorf("SECURITY.md names %d tests", len(named))
	}
	for _, name := range named {
		if !there[name] {
			t.Errorf("SECURITY.md names %s, which does not exist", name)
		}
	}
}

// TestDocumentsAreNarrow: documents are 120 columns wide at most, but for tables and what cannot be
// broken, and ARCHITECTURE.md is short.
func TestDocumentsAreNarrow(t *testing.T) {
	for _, file := range tracked(t) {
		if filepath.Ext(file) != ".md" || file == "docs/performance.md" {
			continue
		}
		lines := strings.Split(readFile(t, "../"+file), "\n")
		if file == "ARCHITECTURE.md" && len(lines) > 150 {
			t.Errorf("ARCHITECTURE.md has %d lines, at most 150", len(lines))
		}
		for i, line := range lines {
			n := utf8.RuneCountInString(line)
			row := strings.HasPrefix(line, "|") && file != "ARCHITECTURE.md"
			code := strings.HasPrefix(line, "  `") || n > 120 && !strings.Contains(strings.TrimSpace(line[:120]), " ")
			if n > 120 && !row && !code {
				t.Errorf("%s:%d has %d columns, at most 120", file, i+1, n)
			}
		}
	}
}

// TestTableIsTheCode: the package table of ARCHITECTURE.md is mayImport.
func TestTableIsTheCode(t *testing.T) {
	table := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/-]+)` \\| [^|]+ \\| ([^|]+) \\|$").FindAllStringSubmatch(readFile(t, "../ARCHITECTURE.md"), -1) {
		table[m[1]] = m[2]
	}
	for name, imports := range mayImport {
		if strings.HasPrefix(name, "cmd/") || name == "tests" {
			continue
		}
		want := strings.Join(imports, " ")
		switch want {
		case "":
			want = "–"
		case "*":
			want = "all"
		}
		if table[name] != want {
			t.Errorf("ARCHITECTURE.md has %q for %s, want %q", table[name], name, want)
		}
	}
}

// mayUse are capabilities by import path, and the packages that may have them. A package under
// tests may have all.
var mayUse = map[string][]string{
	"os/exec":      {"rootfs", "runsc"},
	"net/http":     {"api", "client", "internal/daemon", "internal/doctor"},
	"database/sql": {"store"},
	"unsafe":       {"guest", "rootfs"},
	"golang.org/x/sys/unix": {
		"api", "bundle", "config", "images", "internal/cli", "internal/daemon", "internal/owned", "limits", "netns", "rootfs", "runsc", "sandbox",
		"seccomp", "store",
	},
	"plugin": {}, "net/rpc": {}, "net/http/pprof": {}, "expvar": {}, "text/template": {}, "encoding/gob": {}, "crypto/md5": {}, "math/rand": {},
}

// TestCapabilities: what can start a process, speak HTTP, hold a database or leave the type system
// is imported where that is the package's work.
func TestCapabilities(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(name, "tests") {
			continue
		}
		for _, imp := range p.Imports {
			if allowed, limited := mayUse[imp]; limited && !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s, which only %v may", name, imp, allowed)
			}
		}
	}
}

// TestComments: a comment ends at column 100, and the doc comment of an exported name begins with
// the name.
func TestComments(t *testing.T) {
	const columns, tab = 100, 4
	for _, file := range tracked(t) {
		if filepath.Ext(file) != ".go" || strings.Contains(file, "testdata/") || strings.HasPrefix(file, "tools/sentry/") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "../"+file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(readFile(t, "../"+file), "\n") {
			trimmed := strings.TrimSpace(line)
			directive := strings.HasPrefix(trimmed, "//go:") || strings.HasPrefix(trimmed, "//nolint")
			width := utf8.RuneCountInString(line) + (tab-1)*strings.Count(line, "\t")
			if strings.HasPrefix(trimmed, "// ") && !directive && width > columns && strings.Count(trimmed, " ") > 1 {
				t.Errorf("%s:%d: the comment has %d columns, at most %d", file, i+1, width, columns)
			}
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, d := range f.Decls {
			if fn, is := d.(*ast.FuncDecl); is && fn.Name.IsExported() && fn.Doc != nil && !strings.HasPrefix(fn.Doc.Text(), fn.Name.Name+" ") {
				t.Errorf("%s: the comment of %s does not begin with its name", file, fn.Name.Name)
			}
		}
	}
}
