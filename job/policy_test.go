package job

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func testPolicy() *Policy {
	base := Type{
		Name: "default", Image: "python", Language: Python, Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second,
		Environment: map[string]string{"A": "type"}, AllowEnvironment: []string{"A", "B"},
		Limits: Limits{Memory: 512 * MiB, CPU: 1, Tmp: 100 * MiB, Output: 55 * MiB},
	}
	slow, big, packages, baked, node, elsewhere, command := base, base, base, base, base, base, base
	node.Name, node.Language, elsewhere.Name, elsewhere.Workdir, command.Name, command.Language = "node", Node, "elsewhere", "/srv", "command", Command
	slow.Name, slow.Timeout = "slow", 500*time.Second
	big.Name, big.MaxMemory, big.MaxCPU = "big", 2048*MiB, 4
	packages.Name, packages.Image, packages.Requirements = "packages", "", []string{"numpy"}
	baked.Name, baked.Requirements = "baked", []string{"numpy"}
	return &Policy{
		Types:          map[string]Type{"default": base, "slow": slow, "big": big, "packages": packages, "baked": baked, "node": node, "elsewhere": elsewhere, "command": command},
		DefaultTimeout: 25 * time.Second, DefaultStartupTimeout: 60 * time.Second, MaxTimeout: 300 * time.Second, MaxStartupTimeout: 400 * time.Second,
		MaxCodeBytes: 1000, MaxInputBytes: 1000,
	}
}

func seconds64(n int64) *int64 { return &n }

func TestPolicySpec(t *testing.T) {
	for _, c := range []struct {
		name    string
		request Request
		change  func(*Spec)
	}{
		{"no job type: the configured defaults", Request{}, func(s *Spec) { s.Timeout, s.StartupTimeout = 25*time.Second, 60*time.Second }},
		{"default by name: the type's", Request{JobType: "default"}, func(*Spec) {}},
		{"with a version", Request{JobType: "default@v2"}, func(s *Spec) { s.TypeRef = "default@v2@latest" }},
		{"timeouts", Request{JobType: "slow", Timeout: seconds64(300), StartupTimeout: seconds64(400)}, func(s *Spec) {
			s.Type, s.TypeRef, s.Timeout, s.StartupTimeout = "slow", "slow@latest", 300*time.Second, 400*time.Second
		}},
		{"less memory: sizes follow", Request{JobType: "default", MemoryLimit: 100 * MiB}, func(s *Spec) {
			s.Limits.Memory, s.Limits.Tmp, s.Limits.Output = 100*MiB, 50*MiB, 50*MiB
		}},
		{"more memory and cpu under a ceiling", Request{JobType: "big", MemoryLimit: 2048 * MiB, CPULimit: 4}, func(s *Spec) {
			s.Type, s.TypeRef, s.Limits.Memory, s.Limits.CPU = "big", "big@latest", 2048*MiB, 4
		}},
		{"environment", Request{JobType: "default", Environment: map[string]string{"A": "mine", "B": "b"}}, func(s *Spec) {
			s.Environment = map[string]string{"A": "mine", "B": "b"}
		}},
		{"requirements", Request{JobType: "packages", Requirements: []string{"a"}}, func(s *Spec) {
			s.Type, s.TypeRef, s.Image, s.Requirements = "packages", "packages@latest", "", []string{"a", "numpy"}
		}},
		{"requirements that the image has", Request{JobType: "baked"}, func(s *Spec) { s.Type, s.TypeRef = "baked", "baked@latest" }},
		{"filename", Request{JobType: "default", Filename: "app.py"}, func(s *Spec) { s.Filename = "app.py" }},
		{"the default filename", Request{JobType: "default", Filename: "main.py"}, func(*Spec) {}},
		{"module", Request{JobType: "node", Filename: "app.mjs"}, func(s *Spec) {
			s.Type, s.TypeRef, s.Language, s.Filename = "node", "node@latest", Node, "app.mjs"
		}},
		{"workdir", Request{JobType: "elsewhere"}, func(s *Spec) { s.Type, s.TypeRef, s.Workdir = "elsewhere", "elsewhere@latest", "/srv" }},
		{"code files", Request{JobType: "default", CodeFiles: []File{{Name: "p/main.py"}}}, func(s *Spec) { s.CodeFiles = []File{{Name: "p/main.py"}} }},
		{"all the rest", Request{JobType: "default", Code: "c", Input: json.RawMessage(`{}`), Args: []string{"x"}, Stdin: []byte("in"), Files: []File{{Name: "f"}}, RawStdout: true}, func(s *Spec) {
			s.RawStdout = true
			s.Code, s.Input, s.Args, s.Stdin, s.Files = "c", json.RawMessage(`{}`), []string{"x"}, []byte("in"), []File{{Name: "f"}}
		}},
	} {
		p := testPolicy()
		before := testPolicy()
		got, err := p.Spec(&c.request, "id", "uid:1")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := &Spec{
			ID: "id", Caller: "uid:1", Type: "default", TypeRef: "default@latest", Image: "python", Language: Python, Filename: "main.py", Environment: map[string]string{"A": "type"},
			Timeout: 30 * time.Second, StartupTimeout: 120 * time.Second, Limits: Limits{Memory: 512 * MiB, CPU: 1, Tmp: 100 * MiB, Output: 55 * MiB},
		}
		c.change(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, want)
		}
		if !reflect.DeepEqual(p, before) {
			t.Errorf("%s: the policy has changed", c.name)
		}
		if refused := got.Refused(); (refused != nil) != (len(want.Requirements) > 0) {
			t.Errorf("%s: refused %+v", c.name, refused)
		} else if refused != nil && (refused.Status != Failed || *refused.ExitCode != -1 || refused.Error.Type != TypeRuntime || !strings.Contains(refused.Stderr, "disabled")) {
			t.Errorf("%s: refused %+v", c.name, refused)
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		request Request
		reason  Reason
		message string
	}{
		{"timeout", Request{Timeout: seconds64(301), JobType: "nope"}, Invalid, "timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"timeout that overflows", Request{Timeout: seconds64(9223372037)}, Invalid, "timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"timeout 0", Request{Timeout: seconds64(0)}, Invalid, "timeout and startup_timeout must be at least 1 second"},
		{"startup", Request{StartupTimeout: seconds64(401)}, Invalid, "startup_timeout must be less than or equal to the configured max_startup_timeout (400 seconds)"},
		{"startup that overflows", Request{StartupTimeout: seconds64(math.MaxInt64)}, Invalid, "startup_timeout must be less than or equal to the configured max_startup_timeout (400 seconds)"},
		{"effective", Request{JobType: "slow"}, Invalid, "effective timeout must be less than or equal to the configured max_timeout (300 seconds)"},
		{"type", Request{JobType: "nope@1"}, NotFound, "Job type 'nope' not found"},
		{"memory low", Request{MemoryLimit: 64*MiB - 1}, Invalid, "memory_limit must be at least 64 MiB"},
		{"memory negative", Request{MemoryLimit: -1}, Invalid, "memory_limit must be at least 64 MiB"},
		{"memory high", Request{MemoryLimit: 512*MiB + 1}, Invalid, "memory_limit must be less than or equal to what job type 'default' allows (512 MiB)"},
		{"memory over a ceiling", Request{JobType: "big", MemoryLimit: math.MaxInt64}, Invalid, "memory_limit must be less than or equal to what job type 'big' allows (2048 MiB)"},
		{"cpu low", Request{CPULimit: 1e-9}, Invalid, "cpu_limit must be at least 0.1"},
		{"cpu NaN", Request{CPULimit: math.NaN()}, Invalid, "cpu_limit must be at least 0.1"},
		{"cpu high", Request{CPULimit: 1.01}, Invalid, "cpu_limit must be less than or equal to what job type 'default' allows (1)"},
		{"cpu infinite", Request{JobType: "big", CPULimit: math.Inf(1)}, Invalid, "cpu_limit must be less than or equal to what job type 'big' allows (4)"},
		{"environment", Request{Environment: map[string]string{"A": "1", "LD_PRELOAD": "x"}}, Invalid, "environment: job type 'default' does not let a request set LD_PRELOAD"},
		{"stdin", Request{Stdin: make([]byte, MaxStdin+1)}, Invalid, "stdin has 67108865 bytes: it must have at most 67108864; send more as a file"},
		{"ending", Request{Filename: "app.js"}, Invalid, "filename: app.js must end with .py for job type 'default' (python)"},
		{"ending alone", Request{JobType: "node", Filename: ".mjs"}, Invalid, "filename: .mjs must end with .js or .mjs or .cjs for job type 'node' (node)"},
		{"filename of a command", Request{JobType: "command", Filename: "x.sh"}, Invalid,
			"filename: job type 'command' runs a command, whose code is always /code/main; leave filename out"},
		{"file over the program", Request{CodeFiles: []File{{Name: "a.py"}, {Name: "main.py"}}}, Invalid,
			"code_files: main.py is where the program itself lies; rename the file, or the program with filename"},
		{"folder over the program", Request{Filename: "a.py", CodeFiles: []File{{Name: "a.py/b"}}}, Invalid,
			"code_files: a.py/b is where the program itself lies; rename the file, or the program with filename"},
		{"too much code", Request{MemoryLimit: 64 * MiB, CodeFiles: []File{{Name: "f", Data: make([]byte, 32*MiB+1)}}}, Invalid,
			"code, input_data, code_files, files and stdin have 33554433 bytes, more than half of the job's memory (67108864 bytes)"},
		{"too much to hold", Request{MemoryLimit: 64 * MiB, Stdin: make([]byte, 20*MiB), Files: []File{{Name: "f", Data: make([]byte, 12*MiB+1)}}}, Invalid,
			"code, input_data, code_files, files and stdin have 33554433 bytes, more than half of the job's memory (67108864 bytes)"},
	} {
		_, err := testPolicy().Spec(&c.request, "id", "uid:1")
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != c.reason || r.Message != c.message {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{"64m": 64 * MiB, "512M": 512 * MiB, "2g": 2048 * MiB, "999999999g": 999999999 * 1024 * MiB} {
		if got, err := ParseMemory(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "m", "0m", "-1m", "+1m", "1", "1k", "1mb", "10GG", "1e3m", "1.5g", " 1m", "1m ", "1m\n", "9999999999m", "9223372036854775807m", "NaN", "0x10m", "１m"} {
		if n, err := ParseMemory(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func TestCheckEnvValue(t *testing.T) {
	for _, v := range []string{"", "a b=c", strings.Repeat("a", 32768), "é"} {
		if err := CheckEnvValue(v); err != nil {
			t.Errorf("%.20q: %v", v, err)
		}
	}
	for _, v := range []string{strings.Repeat("a", 32769), "a\nb", "\x00", "\x7f", "\u0085", "`id`", "$HOME", `a\b`} {
		if CheckEnvValue(v) == nil {
			t.Errorf("%.20q was accepted", v)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	if err := testPolicy().Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Policy){
		"types": func(p *Policy) { p.Types = nil }, "timeout": func(p *Policy) { p.MaxTimeout = 0 }, "code": func(p *Policy) { p.MaxCodeBytes = 0 },
	} {
		p := testPolicy()
		if spoil(p); p.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
