package frames

// Version of the conversation. Boot and Ready carry it; both sides refuse another one.
const Version = 4

const (
	// MaxPayload bounds the payload of one frame in bytes.
	MaxPayload = 256 << 10
	// HeaderSize is what a frame costs besides its payload: the length and the type.
	HeaderSize = 5
	// MaxFrame is the size of the largest frame on the wire.
	MaxFrame = HeaderSize + MaxPayload
	// MaxName bounds a file name in bytes (NAME_MAX).
	MaxName = 255
	// MaxDepth bounds the elements of File.Name.
	MaxDepth = 8
	// MaxText bounds Fatal.Message and Done.Note in bytes.
	MaxText = 512
	// MaxTail bounds Done.StderrTail in bytes: room for the last lines of a traceback.
	MaxTail = 4 << 10
	// MaxPreload bounds Boot.Preload in entries.
	MaxPreload = 64
	// MaxModule bounds each of them in bytes.
	MaxModule = 200
	// OutputSlack is how many bytes past Caps.Stdout and Caps.Stderr init forwards: with one byte more than the cap the daemon
	// knows that the cap was passed even when Done never comes. Cutting and the notice are the daemon's.
	OutputSlack = 1
)

// Type of a frame.
type Type uint8

// Types sent by the daemon.
const (
	TypeBoot  Type = 0x01
	TypeFile  Type = 0x02
	TypeData  Type = 0x03
	TypeRun   Type = 0x04
	TypeStdin Type = 0x05
	TypeGo    Type = 0x06
	TypeStop  Type = 0x07
)

// Types sent by init.
const (
	TypeReady       Type = 0x81
	TypeStarted     Type = 0x82
	TypeStdout      Type = 0x83
	TypeStderr      Type = 0x84
	TypeExit        Type = 0x85
	TypeArtifact    Type = 0x86
	TypeContent     Type = 0x87
	TypeArtifactEnd Type = 0x88
	TypeSkip        Type = 0x89
	TypeDone        Type = 0x8a
	TypeFatal       Type = 0x8b
)

// Side is one end of the control socket.
type Side uint8

// The two sides.
const (
	Daemon Side = 1
	Init   Side = 2
)

// sender is the side that sends frames of type t.
func (t Type) sender() Side {
	if t&0x80 != 0 {
		return Init
	}
	return Daemon
}

// known reports whether t is a type of this version.
func (t Type) known() bool {
	return TypeBoot <= t && t <= TypeStop || TypeReady <= t && t <= TypeFatal
}

// Language says how code runs in the sandbox.
type Language uint8

// Languages. Python and Node: init starts the image's interpreter at Boot, it parks in the hook and Ready follows. Command: Ready comes at
// once, and Boot.Argv is started at Go.
const (
	Python  Language = 1
	Command Language = 2
	Node    Language = 3
)

// Waits reports whether the language has an interpreter that init starts at Boot and lets wait for the code. Of a Boot, only those that wait
// may have Preload, and only those that do not have Argv.
func (l Language) Waits() bool { return l == Python || l == Node }

// known reports whether l is a language of this version.
func (l Language) known() bool { return Python <= l && l <= Node }

// Dir is the directory that a File goes into.
type Dir uint8

// Directories: /code and /input of the sandbox.
const (
	DirCode  Dir = 1
	DirInput Dir = 2
)

// Reason says why an entry of /output was not collected.
type Reason uint8

// Reasons of a Skip.
const (
	SkipSymlink   Reason = 1 // a symbolic link, wherever it points
	SkipDirectory Reason = 2
	SkipSpecial   Reason = 3 // fifo, socket, device
	SkipName      Reason = 4 // begins with "." or holds a backslash
	SkipTooLarge  Reason = 5 // apparent size over Caps.Artifact
	SkipTotal     Reason = 6 // would have passed Caps.ArtifactsTotal, or comes after one that did
	SkipError     Reason = 7 // could not be read
)

var reasons = [...]string{SkipSymlink: "symlink", SkipDirectory: "directory", SkipSpecial: "special", SkipName: "name",
	SkipTooLarge: "too_large", SkipTotal: "total", SkipError: "error"}

// String is the word for callers: "symlink", "directory", "special", "name", "too_large", "total" or "error".
func (r Reason) String() string {
	if r == 0 || int(r) >= len(reasons) {
		return "unknown"
	}
	return reasons[r]
}

// Stage says where init failed.
type Stage uint8

// Stages of a Fatal.
const (
	StageProtocol Stage = 1 // a frame that makes no sense where it came
	StageSetup    Stage = 2 // init's own privileges, directories, pipes
	StageExec     Stage = 3 // the interpreter or command: not found, not executable, dead before it was ready
	StageFiles    Stage = 4 // writing /code or /input
	StageRelease  Stage = 5 // handing the code to the waiting interpreter
	StageReap     Stage = 6 // processes of the job that would not die
	StageCollect  Stage = 7 // reading /output
)

var stages = [...]string{StageProtocol: "protocol", StageSetup: "setup", StageExec: "exec", StageFiles: "files",
	StageRelease: "release", StageReap: "reap", StageCollect: "collect"}

// String is the stage in one word.
func (s Stage) String() string {
	if s == 0 || int(s) >= len(stages) {
		return "unknown"
	}
	return stages[s]
}

// MaxStdin bounds the standard input of a job, which init holds in memory, in bytes.
const MaxStdin = 64 << 20
