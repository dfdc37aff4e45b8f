// Package cli implements the command line tool tsubo: it runs programs through a tsubod, imports
// images and checks the host.
//
// tsubo run exits with the program's own status. It exits with 124 for a timeout and 137 for too
// much memory, as the daemon reports them, with 130 if tsubo was interrupted, and with 125 if tsubo
// failed, the daemon refused, or the program has no exit status. Other commands exit with 0 or 125;
// doctor exits with 1 if it finds a problem.
package cli
