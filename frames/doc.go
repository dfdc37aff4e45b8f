// Package frames is the language between tsubod and tsubo-init over the control socket of one sandbox.
//
// A frame is a uint32 (big endian) that counts what follows, one byte of type, and a payload of at most MaxPayload bytes. Types
// with the high bit are sent by init, the others by the daemon; a type coming from the wrong side is an error, as is every
// length, type, field or total that is not exactly as described here: nothing is skipped, clipped or guessed, because the other side
// of the daemon's reader is hostile. Each message has one encoding only, so that decode → encode gives the same bytes.
//
// A sandbox lives through one conversation:
//
//	daemon                                   init
//	Boot ───────────────────────────────────▶
//	     ◀─────────────────────────────────── Ready          the interpreter waits (language command: at once)
//	File Data… File Data… Run Stdin… Go ────▶                all in one write when the caller likes
//	     ◀─────────────────────────────────── Started        the code has been released
//	     ◀─────────────────────────────────── Stdout… Stderr…
//	Stop (any time, optional) ──────────────▶                kill it now, report what there is
//	     ◀─────────────────────────────────── Exit           everything that the job started is dead, or Survivors
//	     ◀─────────────────────────────────── Artifact Content… ArtifactEnd | Skip …
//	     ◀─────────────────────────────────── Done
//	close ──────────────────────────────────▶                init exits
//
// Fatal may come from init at any point and is its last word. Sockets must be read with read(2) (an *os.File, a net.Conn, or a
// bare descriptor), never with recvmsg(2), so that descriptors sent along are dropped by the kernel.
//
// The package is linked into tsubo-init, which must start fast: it imports neither fmt, reflect nor encoding/*.
package frames
