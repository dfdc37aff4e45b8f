// Package doctor says what this host can enforce, which parts tsubod would use, and what to mend: `tsubo doctor`. It changes nothing, needs
// no running daemon, and tells more when it runs as root.
package doctor
