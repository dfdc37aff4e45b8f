package frames

// Message is one decoded frame: one of the types of this file, by value. Messages that are byte slices (Data, Stdin, Stdout, Stderr,
// Content) alias the Reader's buffer and are valid until its next Fill or Next; all others own their memory.
type Message interface {
	Type() Type
	appendTo(b []byte) []byte
}

// Boot is the daemon's first message.
type Boot struct {
	Version  uint16
	Language Language
	Argv     []string // Command: what to start. Languages that wait: empty, init knows
	Env      []string // "K=V", complete: init adds nothing that the job can see
	Cwd      string   // absolute
	// CwdRequired makes a Cwd that is no directory of the image fatal at StageExec. Without it the process starts in / then.
	CwdRequired bool
	UID, GID    uint32   // never 0
	Preload     []string // modules that the interpreter imports before it waits, in this order; CheckModule
	// AddressSpace is the job's soft RLIMIT_AS in bytes, so that an allocation that can never succeed is refused. Zero means no limit.
	AddressSpace int64
}

// File announces a file; Data messages of Size bytes in all follow at once (none when Size is 0). It is made root-owned and
// read-only (Mode, normally 0444) and must not exist yet.
type File struct {
	Dir  Dir
	Name string // relative path, CheckPath; init makes its directories
	Mode uint32 // permission bits only
	Size int64
}

// Data is a piece of the file announced last. Never empty.
type Data []byte

// Run says how the code is run. Program is the name in /code of the file that a language that waits runs, "" for the default (main.py or main.js).
// Another name restarts the interpreter where only that is exact. Stdin messages of Stdin bytes in all follow (none when 0: the job reads end of file at once).
type Run struct {
	Program string
	Args    []string // after the program's own name
	Env     []string // "K=V", set on top of Boot.Env
	Stdin   int64
	Caps    Caps
}

// Caps bound what init sends back.
type Caps struct {
	Stdout, Stderr int64 // bytes kept of each; init forwards OutputSlack more, drains the rest and counts it
	Artifact       int64 // bytes of one artifact
	ArtifactsTotal int64 // bytes of all
	Artifacts      int64 // directory entries of /output that are looked at
}

// Stdin is a piece of the job's standard input. Never empty.
type Stdin []byte

// Go releases the code. All files, Run and Stdin have come.
type Go struct{}

// Stop ends the job: everything is killed, then Exit and the artifacts are reported as ever. After the end it means nothing.
type Stop struct{}

// Ready says that the job's process waits.
type Ready struct {
	Version uint16
	PID     int32 // inside the sandbox; 0 when the process is started at Go
}

// Started says that the code has been released. It comes before the first Stdout or Stderr.
type Started struct{}

// Stdout is standard output as it was written, in order. Never empty.
type Stdout []byte

// Stderr is standard error, likewise.
type Stderr []byte

// Exit is the end of the job's own process. Exactly one of Code and Signal is meaningful: Signal when it is not 0, else Code. Without Survivors
// no process of the job is left. With Survivors some have not died of SIGKILL in time: Done follows at once, without artifacts, and the daemon
// must kill the sandbox.
type Exit struct {
	Code      uint8
	Signal    uint8
	Survivors bool
}

// Artifact announces a regular file of /output; Content messages follow, then ArtifactEnd.
type Artifact struct {
	Name string // any bytes but / and NUL; CheckName
	Size int64
}

// Content is a piece of the artifact announced last. Never empty.
type Content []byte

// ArtifactEnd closes an artifact. Complete is false when the file could not be read to its announced size: drop it.
type ArtifactEnd struct{ Complete bool }

// Skip names an entry of /output that was not collected.
type Skip struct {
	Name   string
	Reason Reason
}

// Done is the last message of a run.
type Done struct {
	StdoutTotal, StderrTotal int64  // bytes written by the job, forwarded or not
	More                     bool   // /output held more entries than Caps.Artifacts: the rest was not looked at
	Note                     string // "", or why the collection is not complete
	// StderrTail is the end of what the job wrote to stderr, any bytes, at most MaxTail of them, when not all of it was forwarded; else "".
	StderrTail string
}

// Fatal is init's last message when it cannot go on.
type Fatal struct {
	Stage   Stage
	Errno   uint32 // 0 when no system call failed
	Message string // for the log, and for StageExec also for the caller
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
