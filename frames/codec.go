package frames

import "unicode/utf8"

// maxStrings limits the entries of a list of strings.
const maxStrings = 8192

// CheckName reports whether name can be a path element: 1 to MaxName bytes, no slash, no NUL,
// neither "." nor "..". Any encoding is accepted, because a job may use any bytes in file names.
func CheckName(name string) bool {
	if name == "" || len(name) > MaxName || name == "." || name == ".." {
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' || name[i] == 0 {
			return false
		}
	}
	return true
}

// CheckPath reports whether path consists of 1 to MaxDepth names, separated by slashes, that pass
// [CheckName].
func CheckPath(path string) bool {
	depth, start := 0, 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if depth++; depth > MaxDepth || !CheckName(path[start:i]) {
			return false
		}
		start = i + 1
	}
	return true
}

// CheckEnv reports whether s is "K=V" with a name and no NUL.
func CheckEnv(s string) bool {
	eq := -1
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return false
		}
		if s[i] == '=' && eq < 0 {
			eq = i
		}
	}
	return eq > 0
}

// CheckModule reports whether s can name a module in Boot.Preload: 1 to MaxModule bytes of
// printable ASCII without spaces. The daemon checks the language's syntax, and the interpreter
// whether the module exists.
func CheckModule(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= MaxModule
}

func hasNUL(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func put16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

func put32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func put64(b []byte, v int64) []byte {
	return put32(put32(b, uint32(uint64(v)>>32)), uint32(uint64(v)))
}

func putString(b []byte, s string) []byte { return append(put32(b, uint32(len(s))), s...) }

func putStrings(b []byte, ss []string) []byte {
	b = put32(b, uint32(len(ss)))
	for _, s := range ss {
		b = putString(b, s)
	}
	return b
}

func putBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func get32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// decoder takes fields off a payload. bad is the first invalid field; all later fields read as
// zero.
type decoder struct {
	b   []byte
	bad string
}

func (d *decoder) take(n int, field string) []byte {
	if d.bad != "" || n > len(d.b) {
		if d.bad == "" {
			d.bad = field
		}
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) check(ok bool, field string) {
	if !ok && d.bad == "" {
		d.bad = field
	}
}

func (d *decoder) u8(field string) uint8 {
	if p := d.take(1, field); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16(field string) uint16 {
	if p := d.take(2, field); p != nil {
		return uint16(p[0])<<8 | uint16(p[1])
	}
	return 0
}

func (d *decoder) u32(field string) uint32 {
	if p := d.take(4, field); p != nil {
		return get32(p)
	}
	return 0
}

// count returns a 64-bit number that must not be negative.
func (d *decoder) count(field string) int64 {
	p := d.take(8, field)
	if p == nil {
		return 0
	}
	v := int64(uint64(get32(p))<<32 | uint64(get32(p[4:])))
	d.check(v >= 0, field)
	return v
}

func (d *decoder) bool(field string) bool {
	v := d.u8(field)
	d.check(v <= 1, field)
	return v == 1
}

func (d *decoder) string(limit int, field string) string {
	n := d.u32(field)
	if n > uint32(limit) {
		d.check(false, field)
		return ""
	}
	return string(d.take(int(n), field))
}

// strings allocates no more than the payload holds, because each entry takes at least four bytes.
func (d *decoder) strings(field string) []string {
	n := d.u32(field)
	if n > maxStrings || int(n) > len(d.b)/4 {
		d.check(false, field)
		return nil
	}
	if n == 0 {
		return nil
	}
	ss := make([]string, 0, n)
	for range n {
		s := d.string(MaxPayload, field)
		if d.bad != "" {
			return nil
		}
		d.check(!hasNUL(s), field)
		ss = append(ss, s)
	}
	return ss
}

func (d *decoder) env(field string) []string {
	ss := d.strings(field)
	for _, s := range ss {
		d.check(CheckEnv(s), field)
	}
	return ss
}

func (d *decoder) name(field string) string {
	s := d.string(MaxName, field)
	d.check(CheckName(s), field)
	return s
}

func (d *decoder) path(field string) string {
	s := d.string(MaxDepth*(MaxName+1), field)
	d.check(CheckPath(s), field)
	return s
}

func (d *decoder) text(field string) string {
	s := d.string(MaxText, field)
	d.check(utf8.ValidString(s), field)
	return s
}

// decode decodes the payload of a frame of a known type.
func decode(t Type, p []byte) (Message, error) {
	d := decoder{b: p}
	var m Message
	switch t {
	case TypeData, TypeStdin, TypeStdout, TypeStderr, TypeContent:
		d.check(len(p) > 0, "content")
		d.b = nil
		m = raw(t, p)
	case TypeBoot:
		m = d.boot()
	case TypeFile:
		v := File{Dir: Dir(d.u8("dir")), Name: d.path("name"), Mode: d.u32("mode"), Size: d.count("size")}
		d.check(v.Dir == DirCode || v.Dir == DirInput, "dir")
		d.check(v.Mode&^0o777 == 0, "mode")
		m = v
	case TypeRun:
		m = d.run()
	case TypeGo:
		m = Go{}
	case TypeStop:
		m = Stop{}
	case TypeReady:
		v := Ready{Version: d.u16("version"), PID: int32(d.u32("pid"))}
		d.check(v.PID >= 0, "pid")
		m = v
	case TypeStarted:
		m = Started{}
	case TypeExit:
		v := Exit{Code: d.u8("code"), Signal: d.u8("signal"), Survivors: d.bool("survivors")}
		d.check(v.Signal <= 64 && (v.Signal == 0 || v.Code == 0), "signal")
		m = v
	case TypeArtifact:
		m = Artifact{Name: d.name("name"), Size: d.count("size")}
	case TypeArtifactEnd:
		m = ArtifactEnd{Complete: d.bool("complete")}
	case TypeSkip:
		v := Skip{Name: d.name("name"), Reason: Reason(d.u8("reason"))}
		d.check(v.Reason != 0 && int(v.Reason) < len(reasons), "reason")
		m = v
	case TypeDone:
		m = Done{
			StdoutTotal: d.count("stdout total"),
			StderrTotal: d.count("stderr total"),
			More:        d.bool("more"),
			Note:        d.text("note"),
			StderrTail:  d.string(MaxTail, "stderr tail"),
		}
	case TypeFatal:
		v := Fatal{Stage: Stage(d.u8("stage")), Errno: d.u32("errno"), Message: d.text("message")}
		d.check(v.Stage != 0 && int(v.Stage) < len(stages), "stage")
		m = v
	}
	d.check(len(d.b) == 0, "trailing bytes")
	if d.bad != "" {
		return nil, &Error{Code: BadPayload, Type: t, Length: int64(len(p)), Field: d.bad}
	}
	return m, nil
}

func raw(t Type, p []byte) Message {
	switch t {
	case TypeData:
		return Data(p)
	case TypeStdin:
		return Stdin(p)
	case TypeStdout:
		return Stdout(p)
	case TypeStderr:
		return Stderr(p)
	}
	return Content(p)
}

func (d *decoder) boot() Boot {
	v := Boot{
		Version:      d.u16("version"),
		Language:     Language(d.u8("language")),
		Argv:         d.strings("argv"),
		Env:          d.env("env"),
		Cwd:          d.string(4096, "cwd"),
		CwdRequired:  d.bool("cwd required"),
		UID:          d.u32("uid"),
		GID:          d.u32("gid"),
		Preload:      d.strings("preload"),
		AddressSpace: d.count("address space"),
	}
	d.check(v.Version == Version, "version")
	d.check(v.Language.known(), "language")
	d.check(v.Language.Waits() && len(v.Argv) == 0 || !v.Language.Waits() && len(v.Argv) > 0 && v.Argv[0] != "", "argv")
	d.check(len(v.Preload) == 0 || v.Language.Waits() && len(v.Preload) <= MaxPreload, "preload")
	for _, name := range v.Preload {
		d.check(CheckModule(name), "preload")
	}
	d.check(v.Cwd != "" && v.Cwd[0] == '/' && !hasNUL(v.Cwd), "cwd")
	d.check(v.UID != 0 && v.GID != 0 && v.UID != ^uint32(0) && v.GID != ^uint32(0), "uid")
	return v
}

func (d *decoder) run() Run {
	v := Run{
		Program: d.string(MaxName, "program"),
		Args:    d.strings("args"),
		Env:     d.env("env"),
		Stdin:   d.count("stdin"),
		Caps: Caps{
			Stdout: d.count("stdout cap"), Stderr: d.count("stderr cap"), Artifact: d.count("artifact cap"),
			ArtifactsTotal: d.count("artifacts total cap"), Artifacts: d.count("artifacts cap")},
	}
	d.check(v.Program == "" || CheckName(v.Program), "program")
	return v
}

func (m Boot) appendTo(b []byte) []byte {
	b = append(put16(b, m.Version), byte(m.Language))
	b = putString(putStrings(putStrings(b, m.Argv), m.Env), m.Cwd)
	b = putBool(b, m.CwdRequired)
	return put64(putStrings(put32(put32(b, m.UID), m.GID), m.Preload), m.AddressSpace)
}

func (m File) appendTo(b []byte) []byte {
	return put64(put32(putString(append(b, byte(m.Dir)), m.Name), m.Mode), m.Size)
}

func (m Run) appendTo(b []byte) []byte {
	b = putString(b, m.Program)
	b = put64(putStrings(putStrings(b, m.Args), m.Env), m.Stdin)
	b = put64(put64(put64(b, m.Caps.Stdout), m.Caps.Stderr), m.Caps.Artifact)
	return put64(put64(b, m.Caps.ArtifactsTotal), m.Caps.Artifacts)
}

func (m Data) appendTo(b []byte) []byte    { return append(b, m...) }
func (m Stdin) appendTo(b []byte) []byte   { return append(b, m...) }
func (m Stdout) appendTo(b []byte) []byte  { return append(b, m...) }
func (m Stderr) appendTo(b []byte) []byte  { return append(b, m...) }
func (m Content) appendTo(b []byte) []byte { return append(b, m...) }
func (Go) appendTo(b []byte) []byte        { return b }
func (Stop) appendTo(b []byte) []byte      { return b }
func (Started) appendTo(b []byte) []byte   { return b }

func (m Ready) appendTo(b []byte) []byte       { return put32(put16(b, m.Version), uint32(m.PID)) }
func (m Exit) appendTo(b []byte) []byte        { return putBool(append(b, m.Code, m.Signal), m.Survivors) }
func (m Artifact) appendTo(b []byte) []byte    { return put64(putString(b, m.Name), m.Size) }
func (m ArtifactEnd) appendTo(b []byte) []byte { return putBool(b, m.Complete) }
func (m Skip) appendTo(b []byte) []byte        { return append(putString(b, m.Name), byte(m.Reason)) }

func (m Done) appendTo(b []byte) []byte {
	return putString(putString(putBool(put64(put64(b, m.StdoutTotal), m.StderrTotal), m.More), m.Note), m.StderrTail)
}

func (m Fatal) appendTo(b []byte) []byte {
	return putString(put32(append(b, byte(m.Stage)), m.Errno), m.Message)
}
