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
	"strings"
	"testing"
)

const module = "github.com/tsubo-run/tsubo"

// mayImport is the package table of ARCHITECTURE.md: which packages of this module each one may import besides job.
// A package that is not listed fails the test, so that the table stays whole.
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

// Size limits of the house: a longer file or package says why in its package comment ("long because …").
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
