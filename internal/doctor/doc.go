// Package doctor implements `tsubo doctor`. It reports what this host can enforce, which components
// tsubod would use, and how to fix problems. It changes nothing, needs no running daemon, and
// reports more when run as root.
package doctor
