package frames

import (
	"bytes"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

func boot() Boot {
	return Boot{
		Version:  Version,
		Language: Python,
		Env:      []string{"PATH=/bin", "EMPTY="},
		Cwd:      "/",
		UID:      1000,
		GID:      1000,
	}
}

// everyMessage has one message per type, in the order of the type numbers.
var everyMessage = []Message{
	Boot{
		Version:  Version,
		Language: Python,
		Env:      []string{"PATH=/bin", "EMPTY="},
		Cwd:      "/",
		UID:      1000,
		GID:      1000,
		Preload:  []string{"json", "xml.etree"},
	},
	Boot{Version: Version, Language: Python, Cwd: "/srv", CwdRequired: true, UID: 1, GID: 1},
	Boot{Version: Version, Language: Python, Cwd: "/", UID: 1, GID: 1, AddressSpace: 1 << 40},
	File{Dir: DirInput, Name: "données.json", Mode: 0o444, Size: 7},
	File{Dir: DirCode, Name: "1/2/3/4/5/6/7/8"},
	Data("abc"),
	Run{Program: "app.mjs", Args: []string{"a", ""}, Env: []string{"K=V=W"}, Stdin: 3, Caps: Caps{1, 2, 3, 4, 5}},
	Stdin("x"),
	Go{},
	Stop{},
	Ready{Version: Version, PID: 2},
	Started{},
	Stdout("out"),
	Stderr("err\xff"),
	Exit{Signal: 9},
	Exit{Code: 3, Survivors: true},
	Artifact{Name: "a\xff\nb", Size: 1 << 40},
	Content("c"),
	ArtifactEnd{Complete: true},
	Skip{Name: ".x", Reason: SkipName},
	Done{StdoutTotal: 1, StderrTotal: 2, More: true, Note: "note", StderrTail: "ValueError: \xff"},
	Fatal{Stage: StageExec, Errno: 2, Message: "python3 not found in PATH"},
}

func encode(t testing.TB, ms ...Message) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := NewWriter(&b, 0).Send(ms...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// frame builds frames that no Writer would write.
func frame(t Type, payload string) string {
	return string(append(put32(nil, uint32(1+len(payload))), byte(t))) + payload
}

func TestEveryMessageSurvives(t *testing.T) {
	seen := map[Type]bool{}
	for _, m := range everyMessage {
		seen[m.Type()] = true
		b := encode(t, m)
		for name, src := range map[string]io.Reader{
			"whole": bytes.NewReader(b), "by byte": iotest.OneByteReader(bytes.NewReader(b)),
		} {
			r := NewReader(src, m.Type().sender(), int64(len(b)))
			got, err := r.Next()
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Errorf("%s: type %#x: got %#v, %v; want %#v", name, m.Type(), got, err, m)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("%s: type %#x: after the last: %v", name, m.Type(), err)
			}
		}
	}
	for t8 := range 256 {
		if typ := Type(t8); typ.known() != seen[typ] {
			t.Errorf("type %#x: known %v, in the table %v", t8, typ.known(), seen[typ])
		}
	}
}

func TestOrderIsKeptInOneWrite(t *testing.T) {
	n := 0
	var b bytes.Buffer
	w := NewWriter(writerFunc(func(p []byte) (int, error) { n++; return b.Write(p) }), 0)
	check(t, w.QueueFile(File{Dir: DirCode, Name: "main.py", Mode: 0o444}, []byte("print(1)")))
	check(t, w.QueueFile(File{Dir: DirInput, Name: "data.json", Mode: 0o444}, nil))
	check(t, w.Queue(Run{Stdin: 2}))
	check(t, w.QueueStdin([]byte("ab")))
	check(t, w.Send(Go{}))
	if n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	r := NewReader(&b, Daemon, 1<<20)
	for _, want := range []Message{
		File{DirCode, "main.py", 0o444, 8}, Data("print(1)"), File{DirInput, "data.json", 0o444, 0}, Run{Stdin: 2},
		Stdin("ab"), Go{}} {
		if got, err := r.Next(); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, %v; want %#v", got, err, want)
		}
	}
}

func TestLargeContentIsCutIntoFrames(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 3*MaxPayload/10)
	var b bytes.Buffer
	w := NewWriter(&b, 0)
	check(t, w.QueueFile(File{Dir: DirInput, Name: "x", Mode: 0o444}, content))
	check(t, w.Flush())
	r := NewReader(&b, Daemon, 1<<30)
	m, err := r.Next()
	check(t, err)
	var got []byte
	for int64(len(got)) < m.(File).Size {
		d, err := r.Next()
		check(t, err)
		got = append(got, d.(Data)...)
	}
	if !bytes.Equal(got, content) {
		t.Error("content changed")
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", MaxPayload+1)
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	tests := []struct {
		name  string
		from  Side
		bytes string
		code  Code
	}{
		{"zero length", Init, "\x00\x00\x00\x00\x82", BadLength},
		{"zero length, nothing after", Init, "\x00\x00\x00\x00", CutShort},
		{"length of all ones", Init, "\xff\xff\xff\xff\x82", BadLength},
		{"one over the cap", Init, frame(TypeStdout, long), BadLength},
		{"type 0", Init, frame(0, ""), BadType},
		{"type after the last", Init, frame(TypeFatal+1, ""), BadType},
		{"type between the sides", Daemon, frame(TypeStop+1, ""), BadType},
		{"the daemon's type from init", Init, frame(TypeGo, ""), BadDirection},
		{"init's type from the daemon", Daemon, frame(TypeStarted, ""), BadDirection},
		{"header cut", Init, "\x00\x00", CutShort},
		{"payload cut", Init, frame(TypeStdout, "abc")[:6], CutShort},
		{"trailing byte", Init, frame(TypeStarted, "x"), BadPayload},
		{"empty output", Init, frame(TypeStdout, ""), BadPayload},
		{"exit: short", Init, frame(TypeExit, "\x01"), BadPayload},
		{"exit: code and signal", Init, frame(TypeExit, "\x01\x09\x00"), BadPayload},
		{"exit: survivors 2", Init, frame(TypeExit, "\x01\x00\x02"), BadPayload},
		{"exit: signal 65", Init, frame(TypeExit, "\x00\x41\x00"), BadPayload},
		{"bool of 2", Init, frame(TypeArtifactEnd, "\x02"), BadPayload},
		{"artifact: empty name", Init, frame(TypeArtifact, zeros(4+8)), BadPayload},
		{"artifact: slash", Init, frame(TypeArtifact, "\x00\x00\x00\x03a/b"+zeros(8)), BadPayload},
		{"artifact: NUL", Init, frame(TypeArtifact, "\x00\x00\x00\x03a\x00b"+zeros(8)), BadPayload},
		{"artifact: dot dot", Init, frame(TypeArtifact, "\x00\x00\x00\x02.."+zeros(8)), BadPayload},
		{
			"artifact: name of 256",
			Init,
			frame(TypeArtifact, "\x00\x00\x01\x00"+strings.Repeat("n", 256)+zeros(8)),
			BadPayload,
		},
		{"artifact: negative size", Init, frame(TypeArtifact, "\x00\x00\x00\x01a\xff"+zeros(7)), BadPayload},
		{"skip: reason 0", Init, frame(TypeSkip, "\x00\x00\x00\x01a\x00"), BadPayload},
		{"skip: reason after the last", Init, frame(TypeSkip, "\x00\x00\x00\x01a\x08"), BadPayload},
		{"fatal: stage 0", Init, frame(TypeFatal, zeros(9)), BadPayload},
		{"fatal: not UTF-8", Init, frame(TypeFatal, "\x01"+zeros(4)+"\x00\x00\x00\x01\xff"), BadPayload},
		{
			"fatal: text too long",
			Init,
			frame(TypeFatal, "\x01"+zeros(4)+"\x00\x00\x02\x01"+strings.Repeat("t", MaxText+1)),
			BadPayload,
		},
		{"done: negative total", Init, frame(TypeDone, "\x80"+zeros(15+1+4)), BadPayload},
		{"run: more strings than bytes", Daemon, frame(TypeRun, "\x00\x00\x20\x00"), BadPayload},
		{"run: string longer than the rest", Daemon, frame(TypeRun, "\x00\x00\x00\x01\x00\x03\xff\xff"), BadPayload},
		{
			"run: NUL in an argument",
			Daemon,
			frame(TypeRun, "\x00\x00\x00\x01\x00\x00\x00\x01\x00"+zeros(4+6*8)),
			BadPayload,
		},
		{
			"run: variable without =",
			Daemon,
			frame(TypeRun, zeros(4)+"\x00\x00\x00\x01\x00\x00\x00\x01a"+zeros(6*8)),
			BadPayload,
		},
		{"file: unknown directory", Daemon, frame(TypeFile, "\x03\x00\x00\x00\x01a"+zeros(12)), BadPayload},
		{"file: setuid", Daemon, frame(TypeFile, "\x01\x00\x00\x00\x01a\x00\x00\x08\x00"+zeros(8)), BadPayload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tt.bytes), tt.from, 1<<30)
			m, err := r.Next()
			var fe *Error
			if !errors.As(err, &fe) || fe.Code != tt.code || m != nil {
				t.Fatalf("got %#v, %v; want code %d (%s)", m, err, tt.code, codes[tt.code])
			}
			if _, again := r.Next(); again != err {
				t.Errorf("the second time: %v, want the same error", again)
			}
			if cap(r.buf) > MaxFrame {
				t.Errorf("holds %d bytes", cap(r.buf))
			}
		})
	}
}

// A message that the other side would refuse never reaches the wire.
func TestWriterRefuses(t *testing.T) {
	env := boot()
	env.Env = []string{"K=" + strings.Repeat("v", MaxPayload)}
	module := func(names ...string) Boot { b := boot(); b.Preload = names; return b }
	command := module("json")
	command.Language, command.Argv = Command, []string{"x"}
	old, root, argv := boot(), boot(), boot()
	old.Version, root.UID, argv.Argv = Version+1, 0, []string{"python3"}
	for name, m := range map[string]Message{
		"too large": env, "other version": old, "root": root, "python with argv": argv, "empty data": Data{},
		"command with preload": command, "no name of a module": module("json", ""),
		"65 modules":        module(strings.Split(strings.Repeat("m", MaxPreload+1), "")...),
		"module with a NUL": module("a\x00b"), "module with a space": module("a b"),
		"module with a line":  module("a\nb"),
		"module of 201 bytes": module(strings.Repeat("m", MaxModule+1)), "module that is not ASCII": module("é"),
		"nine names": File{Dir: DirCode, Name: "1/2/3/4/5/6/7/8/9"}, "absolute name": File{Dir: DirCode, Name: "/a"},
		"name that goes up": File{Dir: DirCode, Name: "a/../b"},
		"empty name":        File{Dir: DirCode, Name: "a//b"}, "name of a folder": File{Dir: DirCode, Name: "a/"},
		"program in a folder": Run{Program: "a/b.py"},
		"program above":       Run{Program: ".."}, "command without argv": Boot{
			Version: Version, Language: Command, Cwd: "/", UID: 1, GID: 1,
		}} {
		var b bytes.Buffer
		w := NewWriter(&b, 0)
		err := w.Send(m)
		if fe := (*Error)(nil); !errors.As(err, &fe) || b.Len() != 0 || w.Send(Go{}) == nil || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, b.Len())
		}
	}
}

// The longest list of modules fits easily in a single write to the hook's socket.
func TestMostPreloadSurvives(t *testing.T) {
	b := boot()
	for range MaxPreload {
		b.Preload = append(b.Preload, strings.Repeat("m", MaxModule))
	}
	got, err := NewReader(bytes.NewReader(encode(t, b)), Daemon, 1<<20).Next()
	if err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("got %#v, %v", got, err)
	}
}

// FuzzPreload checks that no list of modules over a cap is accepted.
func FuzzPreload(f *testing.F) {
	f.Add(uint8(Python), "json\nxml.etree")
	f.Add(uint8(Command), "")
	f.Add(uint8(Python), strings.Repeat("m\n", MaxPreload))
	f.Add(uint8(Python), strings.Repeat("m", MaxModule+1))
	f.Fuzz(func(t *testing.T, language uint8, list string) {
		b := boot()
		b.Language, b.Preload = Language(language), strings.Split(list, "\n")
		if b.Language == Command {
			b.Argv = []string{"x"}
		}
		payload := b.appendTo(nil)
		if len(payload) > MaxPayload {
			return
		}
		m, err := decode(TypeBoot, payload)
		if err != nil {
			return
		}
		got := m.(Boot)
		if !got.Language.Waits() && len(got.Preload) > 0 || len(got.Preload) > MaxPreload {
			t.Fatalf("language %d has %d modules", got.Language, len(got.Preload))
		}
		for _, name := range got.Preload {
			if name == "" || len(name) > MaxModule || strings.ContainsFunc(name,
				func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Fatalf("module %q", name)
			}
		}
	})
}

func TestBudget(t *testing.T) {
	b := encode(t, Stdout("abc"), Stdout("abc"))
	for budget, want := range map[int]int{0: 0, len(b)/2 - 1: 0, len(b) / 2: 1, len(b) - 1: 1, len(b): 2} {
		r := NewReader(bytes.NewReader(b), Init, int64(budget))
		n := 0
		var err error
		for err == nil {
			if _, err = r.Next(); err == nil {
				n++
			}
		}
		var fe *Error
		if n != want || want < 2 && (!errors.As(err, &fe) || fe.Code != OverBudget) {
			t.Errorf("budget %d: %d frames, %v; want %d", budget, n, err, want)
		}
	}
}

// The daemon's budget admits the longest output of an honest init, and limits all others.
func TestCapsBudgetIsEnough(t *testing.T) {
	c := Caps{Stdout: 100, Stderr: 50, Artifact: 3 * ContentSize, ArtifactsTotal: 5*ContentSize + 10, Artifacts: 40}
	name := strings.Repeat("n", MaxName)
	text := strings.Repeat("t", MaxText)
	var size int64
	add := func(m Message) { size += int64(len(encode(t, m))) }
	add(Started{})
	for range c.Stdout + OutputSlack {
		add(Stdout("x"))
	}
	for range c.Stderr + OutputSlack {
		add(Stderr("x"))
	}
	add(Exit{})
	left := c.ArtifactsTotal
	for range c.Artifacts + 1 { // result.json is opened by name
		add(Artifact{Name: name})
		for n := min(left, ContentSize+1); n > 0; n -= ContentSize {
			add(make(Content, min(n, ContentSize)))
			left -= min(n, ContentSize)
		}
		add(ArtifactEnd{})
	}
	add(Done{Note: text})
	add(Fatal{Stage: StageExec, Message: text})
	if got := c.Budget(); got < size || got > 2*size {
		t.Errorf("budget %d for %d honest bytes", got, size)
	}
	if b := (Caps{1 << 62, 1 << 62, 1 << 62, 1 << 62, 1 << 62}).Budget(); b <= 0 {
		t.Errorf("budget of absurd caps: %d", b)
	}
	if n := int64(len(encode(t, Ready{Version: Version}, Fatal{Stage: StageExec, Message: text}))); n != BootBudget {
		t.Errorf("BootBudget is %d, want %d", BootBudget, n)
	}
}

// A descriptor that is attached to a frame must not be received.
func TestNoDescriptorArrives(t *testing.T) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(t, err)
	ours := os.NewFile(uintptr(p[0]), "ours")
	defer ours.Close()
	defer syscall.Close(p[1])
	before := openFiles(t)
	check(t, syscall.Sendmsg(p[1], encode(t, Started{}), syscall.UnixRights(0, 1, 2), nil, 0))
	m, err := NewReader(ours, Init, 100).Next()
	if _, ok := m.(Started); !ok || err != nil {
		t.Fatalf("got %#v, %v", m, err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	return len(e)
}

// tsubo-init starts on every boot of a sandbox, and its imports decide how fast.
func TestImportsStaySmall(t *testing.T) {
	files, err := filepath.Glob("*.go")
	check(t, err)
	allowed := []string{"io", "sync", "strconv", "unicode/utf8"}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		check(t, err)
		for _, imp := range f.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// FuzzReader checks that the reader never panics, holds at most a frame, and that accepted frames
// encode to the same bytes.
func FuzzReader(f *testing.F) {
	for _, m := range everyMessage {
		b := encode(f, m)
		f.Add(b, uint8(m.Type().sender()), int64(len(b)))
		f.Add(b[:len(b)-1], uint8(m.Type().sender()), int64(1<<20))
	}
	f.Add(encode(f, everyMessage[:7]...), uint8(Daemon), int64(1<<20))
	f.Add(encode(f, everyMessage[7:]...), uint8(Init), int64(1<<20))
	f.Add([]byte("\xff\xff\xff\xff\x83"), uint8(Init), int64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, side uint8, budget int64) {
		r := NewReader(bytes.NewReader(b), Side(side), budget)
		var got bytes.Buffer
		w := NewWriter(&got, 0)
		for {
			m, err := r.Next()
			if cap(r.buf) > MaxFrame {
				t.Fatalf("holds %d bytes", cap(r.buf))
			}
			if err != nil {
				var fe *Error
				if m != nil || err != io.EOF && !errors.As(err, &fe) {
					t.Fatalf("got %#v, %v", m, err)
				}
				break
			}
			if err := w.Send(m); err != nil {
				t.Fatalf("accepted %#v, but would not send it: %v", m, err)
			}
		}
		if int64(got.Len()) > max(budget, 0) || !bytes.HasPrefix(b, got.Bytes()) {
			t.Fatalf("accepted %d bytes of %d (budget %d) that are not its beginning", got.Len(), len(b), budget)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
