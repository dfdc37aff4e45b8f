// Package doctor reports what this host can enforce, which parts tsubod would use, and what to
// mend: `tsubo doctor`. It changes nothing, needs no running daemon, and reports more when it runs
// as root.
package doctor
