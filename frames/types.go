package frames

// Version is the version of the protocol. Boot and Ready contain it, and both sides refuse any
// other.
const Version = 4

const (
	// MaxPayload limits the payload of a frame, in bytes.
	MaxPayload = 256 << 10
	// HeaderSize is the size of a frame's length and type, in bytes.
	HeaderSize = 5
	// MaxFrame is the size of the largest frame, in bytes.
	MaxFrame = HeaderSize + MaxPayload
	// MaxName limits a file name, in bytes (NAME_MAX).
	MaxName = 255
	// MaxDepth limits the path elements of File.Name.
	MaxDepth = 8
	// MaxText limits Fatal.Message and Done.Note, in bytes.
	MaxText = 512
	// MaxTail limits Done.StderrTail, in bytes. It holds the last lines of a traceback.
	MaxTail = 4 << 10
	// MaxPreload limits the entries of Boot.Preload.
	MaxPreload = 64
	// MaxModule limits each entry of Boot.Preload, in bytes.
	MaxModule = 200
	// OutputSlack is how many bytes past Caps.Stdout and Caps.Stderr init forwards. With a byte
	// over the cap, the daemon knows that the cap was passed even if Done never arrives. The daemon
	// truncates the output and adds the notice.
	OutputSlack = 1
)

// Type is the type of a frame.
type Type uint8

// The types that the daemon sends.
const (
	TypeBoot  Type = 0x01
	TypeFile  Type = 0x02
	TypeData  Type = 0x03
	TypeRun   Type = 0x04
	TypeStdin Type = 0x05
	TypeGo    Type = 0x06
	TypeStop  Type = 0x07
)

// The types that init sends.
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

// Side is an end of the control socket.
type Side uint8

// The two sides.
const (
	Daemon Side = 1
	Init   Side = 2
)

// sender returns the side that sends frames of type t.
func (t Type) sender() Side {
	if t&0x80 != 0 {
		return Init
	}
	return Daemon
}

// known reports whether this version has type t.
func (t Type) known() bool {
	return TypeBoot <= t && t <= TypeStop || TypeReady <= t && t <= TypeFatal
}

// Language is the way in which code runs in the sandbox.
type Language uint8

// The languages. For Python and Node, init starts the image's interpreter at Boot and sends Ready
// once it is parked in the hook. For Command, Ready follows at once, and init starts Boot.Argv at
// Go.
const (
	Python  Language = 1
	Command Language = 2
	Node    Language = 3
)

// Waits reports whether init starts the language's interpreter at Boot and lets it wait for the
// code. Only languages that wait may have Boot.Preload, and only the others may have Boot.Argv.
func (l Language) Waits() bool { return l == Python || l == Node }

// known reports whether this version has language l.
func (l Language) known() bool { return Python <= l && l <= Node }

// Dir is the target directory of a File.
type Dir uint8

// The directories /code and /input of the sandbox.
const (
	DirCode  Dir = 1
	DirInput Dir = 2
)

// Reason is the reason why an entry of /output was not collected.
type Reason uint8

// The reasons of a Skip.
const (
	SkipSymlink   Reason = 1 // a symbolic link, wherever it points
	SkipDirectory Reason = 2
	SkipSpecial   Reason = 3 // fifo, socket, device
	SkipName      Reason = 4 // begins with "." or contains a backslash
	SkipTooLarge  Reason = 5 // apparent size over Caps.Artifact
	SkipTotal     Reason = 6 // over Caps.ArtifactsTotal, or after an entry that was
	SkipError     Reason = 7 // could not be read
)

var reasons = [...]string{SkipSymlink: "symlink", SkipDirectory: "directory", SkipSpecial: "special", SkipName: "name",
	SkipTooLarge: "too_large", SkipTotal: "total", SkipError: "error"}

// String returns the API's word: "symlink", "directory", "special", "name", "too_large", "total" or
// "error".
func (r Reason) String() string {
	if r == 0 || int(r) >= len(reasons) {
		return "unknown"
	}
	return reasons[r]
}

// Stage is the step at which init failed.
type Stage uint8

// The stages of a Fatal.
const (
	StageProtocol Stage = 1 // a frame out of place
	StageSetup    Stage = 2 // init's own privileges, directories, pipes
	StageExec     Stage = 3 // the interpreter or command: not found, not executable, dead before it was ready
	StageFiles    Stage = 4 // writing /code or /input
	StageRelease  Stage = 5 // handing the code to the waiting interpreter
	StageReap     Stage = 6 // killing and reaping the job's processes
	StageCollect  Stage = 7 // reading /output
)

var stages = [...]string{StageProtocol: "protocol", StageSetup: "setup", StageExec: "exec", StageFiles: "files",
	StageRelease: "release", StageReap: "reap", StageCollect: "collect"}

// String returns the stage as a word.
func (s Stage) String() string {
	if s == 0 || int(s) >= len(stages) {
		return "unknown"
	}
	return stages[s]
}

// MaxStdin limits the standard input of a job, which init holds in memory, in bytes.
const MaxStdin = 64 << 20
