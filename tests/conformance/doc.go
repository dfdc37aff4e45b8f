// Package conformance asserts that a program gives in tsubo what it gives to `python3 -u
// /code/main.py`, or to `node /code/main.js`: the same stdout, stderr and exit code, byte for byte.
// The programs are files of their own in programs/ and programs-node/, named KIND-VARIANT; a first
// line "#: args …" or `#: stdin "…"` (JSON; //: in JavaScript) gives them arguments or input.
//
// Without a daemon both ways go through tsubo-init, the native one as an ordinary command, in
// namespaces of this kernel and under runsc. With one (TSUBO_SOCKET, or a tsubod on PATH that can
// enforce everything) the native way is os/exec in the unpacked image, and the other POST /execute.
package conformance
