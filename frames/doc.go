// Package frames is the protocol between tsubod and tsubo-init over the control socket of a
// sandbox.
//
// A frame is a big-endian uint32 length of the rest, a type byte, and a payload of at most
// MaxPayload bytes. Init sends the types with the high bit, the daemon sends the others. The other
// side of the daemon's reader is hostile, so nothing is skipped, clipped or guessed: a type from
// the wrong side is an error, and so is every length, type, field or total that differs from this
// description. Each message has only one encoding, so that decode → encode yields the same bytes.
//
// A sandbox has a single conversation:
//
//	daemon                                   init
//	Boot ───────────────────────────────────▶
//	     ◀─────────────────────────────────── Ready          the interpreter waits
//	File Data… File Data… Run Stdin… Go ────▶                possibly in a single write
//	     ◀─────────────────────────────────── Started        the code is released
//	     ◀─────────────────────────────────── Stdout… Stderr…
//	Stop (any time, optional) ──────────────▶                kill the job, then report
//	     ◀─────────────────────────────────── Exit           no process is left, or Survivors
//	     ◀─────────────────────────────────── Artifact Content… ArtifactEnd | Skip …
//	     ◀─────────────────────────────────── Done
//	close ──────────────────────────────────▶                init exits
//
// Init may send Fatal at any point, as its last frame. Sockets must be read with read(2) (an
// *os.File, a net.Conn or a bare descriptor), never with recvmsg(2), so that the kernel drops
// attached descriptors.
//
// The package is linked into tsubo-init, which must start fast: it imports neither fmt, reflect nor
// encoding/*.
package frames
