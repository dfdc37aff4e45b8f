package hook

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "compile sitecustomize.cpython-311.pyc anew")

const compile = `
import py_compile, sys
source, compiled, name = sys.argv[1:4]
py_compile.compile(source, compiled, name, doraise=True, optimize=0,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
`

const check = `
import importlib.util, marshal, sys
source, compiled, name = sys.argv[1:4]
text, data = open(source, "rb").read(), open(compiled, "rb").read()
assert data[:4] == importlib.util.MAGIC_NUMBER, "not of this interpreter"
assert data[4:8] == b"\1\0\0\0", "checked by whoever imports it"
assert data[8:16] == importlib.util.source_hash(text), "of another source"
assert marshal.loads(data[16:]) == compile(text, name, "exec", dont_inherit=True, optimize=0), "another program"
`

// TestCompiled checks that the compiled file matches its source, because CPython does not.
func TestCompiled(t *testing.T) {
	python, err := exec.LookPath("/usr/bin/python3.11")
	if err != nil {
		t.Skip("no CPython 3.11 here")
	}
	const pyc = "sitecustomize.cpython-311.pyc"
	if *update {
		run(t, python, compile, "sitecustomize.py", pyc)
		t.Skip("written; run again without -update")
	}
	source, compiled := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "compiled")
	files := Files()
	for path, data := range map[string][]byte{
		source: files["python/sitecustomize.py"], compiled: files["python/__pycache__/"+pyc],
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, python, check, source, compiled)
}

func run(t *testing.T, python, program, source, compiled string) {
	t.Helper()
	out, err := exec.Command(python, "-I", "-S", "-c", program, source, compiled,
		"/.tsubo/python/sitecustomize.py").CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Errorf("%s: go test ./guest/hook -update", lines[len(lines)-1])
	}
}
