package job

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "run the programs of testdata/ends with this host's python3 and node, and write down how they end")

// TestEnds classifies what real interpreters (CPython 3.11, Node.js 20) wrote and how they ended.
// Each file of testdata/ends has the wanted error type ("none" for a success) and message, the exit
// status, the program, and its stderr; -update writes status and stderr anew.
func TestEnds(t *testing.T) {
	files, err := filepath.Glob("testdata/ends/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d endings, want 60 at least: %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				runEnd(t, a)
				if err := os.WriteFile(name, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			head := map[string]string{}
			for line := range strings.Lines(string(a.Comment)) {
				key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
				head[key] = value
			}
			f := Facts{Phase: PhaseExecution, MemoryReached: head["memory"] == "reached"}
			n, err := strconv.Atoi(head["status"])
			if err != nil {
				t.Fatal(err)
			}
			if f.ExitCode = n; n < 0 {
				f.ExitCode, f.Signal = 0, syscall.Signal(-n)
			}
			for _, file := range a.Files {
				if file.Name == "stderr" {
					f.Stderr = file.Data
				}
			}
			v := Classify(f)
			if head["type"] == "none" {
				if v.Error != nil || v.Status != Succeeded {
					t.Errorf("%+v, want a success", v)
				}
				return
			}
			if v.Status != Failed || v.Error == nil {
				t.Fatalf("%+v, want a failure", v)
			}
			if string(v.Error.Type) != head["type"] || v.Error.Message != head["message"] {
				t.Errorf("%s\n%q, want %s\n%q\n%s", v.Error.Type, v.Error.Message, head["type"], head["message"], f.Stderr)
			}
		})
	}
}

var (
	pidOfNode   = regexp.MustCompile(`\(node:\d+\)`)
	libOfPython = regexp.MustCompile(`/[^" ]*/lib/python3`)
)

// runEnd writes status and stderr of the program of a.
func runEnd(t *testing.T, a *txtar.Archive) {
	t.Helper()
	dir := t.TempDir()
	program := a.Files[0]
	if err := os.WriteFile(filepath.Join(dir, program.Name), program.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	argv := []string{"python3", "-u"}
	if strings.Contains(program.Name, "js") {
		argv = []string{"node"}
	}
	cmd := exec.Command(argv[0], append(argv[1:], filepath.Join(dir, program.Name))...) //nolint:gosec // the programs of testdata
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/tmp", "LANG=C.UTF-8"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus) //nolint:forcetypeassert // on Linux
	n := status.ExitStatus()
	if status.Signaled() {
		n = -int(status.Signal())
	}
	comment := regexp.MustCompile(`(?m)^status: .*\n`).ReplaceAll(a.Comment, nil)
	a.Comment = append(comment, fmt.Sprintf("status: %d\n", n)...)
	text := libOfPython.ReplaceAllString(strings.ReplaceAll(stderr.String(), dir, "/code"), "/usr/lib/python3")
	a.Files = []txtar.File{program, {Name: "stderr", Data: []byte(pidOfNode.ReplaceAllString(text, "(node:7)"))}}
}
