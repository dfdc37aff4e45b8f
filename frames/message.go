package frames

// Message is a decoded frame: a value of a type in this file. The byte slices (Data, Stdin, Stdout,
// Stderr, Content) alias the Reader's buffer and are valid until its next Fill or Next. All other
// messages own their memory.
type Message interface {
	Type() Type
	appendTo(b []byte) []byte
}

// Boot is the daemon's first message.
type Boot struct {
	Version  uint16
	Language Language
	Argv     []string // the command to start; empty for languages that wait
	Env      []string // the complete "K=V" list: init adds nothing that the job can see
	Cwd      string   // absolute
	// CwdRequired makes it fatal, at StageExec, if Cwd is not a directory of the image. Otherwise
	// the process then starts in /.
	CwdRequired bool
	UID, GID    uint32   // never 0
	Preload     []string // modules to import, in this order, before the interpreter waits (CheckModule)
	// AddressSpace is the job's soft RLIMIT_AS in bytes. With it an allocation that can never
	// succeed is refused. Zero means no limit.
	AddressSpace int64
}

// File announces a file. Data messages of Size bytes in total follow at once. None follow if Size
// is 0. Init creates the file as root, with Mode (normally 0444). The file must not exist yet.
type File struct {
	Dir  Dir
	Name string // relative path (CheckPath); init creates its directories
	Mode uint32 // permission bits only
	Size int64
}

// Data is a piece of the last announced file. It is never empty.
type Data []byte

// Run describes how to run the code. Program is the name in /code of the file that a waiting
// language runs. "" means the default, main.py or main.js. Another name restarts the interpreter if
// only that is exact. Stdin messages of Stdin bytes in total follow. If Stdin is 0, the job reads
// EOF at once.
type Run struct {
	Program string
	Args    []string // without the program's own name
	Env     []string // "K=V" entries that override Boot.Env
	Stdin   int64
	Caps    Caps
}

// Caps limits what init sends back.
type Caps struct {
	Stdout, Stderr int64 // bytes per stream; init forwards OutputSlack more, then drains and counts
	Artifact       int64 // bytes per artifact
	ArtifactsTotal int64 // bytes of all artifacts
	Artifacts      int64 // directory entries of /output that init reads
}

// Stdin is a piece of the job's standard input. It is never empty.
type Stdin []byte

// Go releases the code. It follows all files, Run and Stdin.
type Go struct{}

// Stop ends the job: init kills everything, then sends Exit and the artifacts as usual. After Exit,
// Stop has no effect.
type Stop struct{}

// Ready reports that the job's process waits. For Command it follows Boot at once.
type Ready struct {
	Version uint16
	PID     int32 // inside the sandbox; 0 if the process starts at Go
}

// Started reports that the code is released. It precedes the first Stdout or Stderr.
type Started struct{}

// Stdout is a piece of standard output, in order. It is never empty.
type Stdout []byte

// Stderr is a piece of standard error, in order. It is never empty.
type Stderr []byte

// Exit reports the exit of the job's own process. If Signal is not 0, Code has no meaning. Without
// Survivors no process of the job is left. With Survivors some processes outlived SIGKILL: Done
// follows at once, without artifacts, and the daemon must kill the sandbox.
type Exit struct {
	Code      uint8
	Signal    uint8
	Survivors bool
}

// Artifact announces a regular file of /output. Content messages follow, then ArtifactEnd.
type Artifact struct {
	Name string // any bytes except / and NUL (CheckName)
	Size int64
}

// Content is a piece of the last announced artifact. It is never empty.
type Content []byte

// ArtifactEnd ends an artifact. If Complete is false, the file could not be read up to its
// announced size and must be dropped.
type ArtifactEnd struct{ Complete bool }

// Skip names an entry of /output that was not collected.
type Skip struct {
	Name   string
	Reason Reason
}

// Done is the last message of a run.
type Done struct {
	StdoutTotal, StderrTotal int64  // bytes written by the job, forwarded or not
	More                     bool   // /output has more entries than Caps.Artifacts; the rest was not read
	Note                     string // why the collection is incomplete; "" means complete
	// StderrTail is the last bytes of stderr, in any encoding, at most MaxTail. It is "" if all of
	// stderr was forwarded.
	StderrTail string
}

// Fatal is init's last message if it cannot continue.
type Fatal struct {
	Stage   Stage
	Errno   uint32 // 0 if no system call failed
	Message string // for the log; for StageExec also for the caller
}

// Type implements Message.
func (Boot) Type() Type { return TypeBoot }

// Type implements Message.
func (File) Type() Type { return TypeFile }

// Type implements Message.
func (Data) Type() Type { return TypeData }

// Type implements Message.
func (Run) Type() Type { return TypeRun }

// Type implements Message.
func (Stdin) Type() Type { return TypeStdin }

// Type implements Message.
func (Go) Type() Type { return TypeGo }

// Type implements Message.
func (Stop) Type() Type { return TypeStop }

// Type implements Message.
func (Ready) Type() Type { return TypeReady }

// Type implements Message.
func (Started) Type() Type { return TypeStarted }

// Type implements Message.
func (Stdout) Type() Type { return TypeStdout }

// Type implements Message.
func (Stderr) Type() Type { return TypeStderr }

// Type implements Message.
func (Exit) Type() Type { return TypeExit }

// Type implements Message.
func (Artifact) Type() Type { return TypeArtifact }

// Type implements Message.
func (Content) Type() Type { return TypeContent }

// Type implements Message.
func (ArtifactEnd) Type() Type { return TypeArtifactEnd }

// Type implements Message.
func (Skip) Type() Type { return TypeSkip }

// Type implements Message.
func (Done) Type() Type { return TypeDone }

// Type implements Message.
func (Fatal) Type() Type { return TypeFatal }
