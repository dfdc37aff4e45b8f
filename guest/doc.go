// Package guest is what runs inside a sandbox: tsubo-init, PID 1, root with six capabilities, between the daemon's control socket
// (package frames) and the job, a process of uid 1000 with none.
//
// One thread does everything (still_amd64.go), in the order in which it is told in main.go: it starts the interpreter and lets it wait (boot.go,
// hook.go), writes the job's files (load.go), releases the code (release.go), carries its output (pump.go), and at the end kills and reaps whatever is
// left (reap.go) and reads /output without following anything (collect.go).
//
// The job can see init, but not touch it: another uid, not dumpable, no shared descriptor but the pipes. Everything that init reads
// from the job (pipes, file names, file contents, exit statuses) is bounded here, and believed nowhere.
//
// tsubo-init starts on every boot of a sandbox, and what it links decides how long that takes: the package imports syscall and frames, and
// neither os, fmt, time nor net. It is long because init is one program without those: every step has a file of its own, and so have the system
// calls that others get from package os.
package guest
