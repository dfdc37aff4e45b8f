// Package cli is the command line tsubo: it runs programs through a tsubod, brings images to it,
// and looks at the host.
//
// Exit statuses of tsubo run: the program's own; 124 for a timeout and 137 for too much memory, as
// the daemon reports them; 130 when tsubo was interrupted; 125 when tsubo failed, the daemon
// refused, or there is no exit status of a program. Of the other commands: 0, or 125, and for
// doctor 1 when something is wrong.
package cli
