// Package guest is tsubo-init, PID 1 of a sandbox. It runs as root with six capabilities, between
// the daemon's control socket (package frames) and the job, a process of uid 1000 without
// capabilities.
//
// A single thread does everything (still_amd64.go), in the order of [Main]'s steps. It starts the
// interpreter and parks it (boot.go, hook.go), writes the job's files (load.go), releases the code
// (release.go) and forwards its output (pump.go). At the end it kills and reaps all other processes
// (reap.go) and reads /output without following links (collect.go).
//
// The job can see init but not touch it: init has another uid, is not dumpable, and shares no
// descriptor except the pipes. All data that init reads from the job (pipes, file names, file
// contents, exit statuses) is limited here and never trusted.
//
// tsubo-init starts on every boot of a sandbox, and its size decides how long that takes. The
// package therefore imports syscall and frames, but not os, fmt, time or net. It is long because
// init is one program without those packages: every step has its own file, and so have the system
// calls that other programs get from package os.
package guest
