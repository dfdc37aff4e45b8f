// Package daemon is tsubod: it reads the configuration, takes possession of what is its own on the
// host, proves that sandboxes hold, wires the packages together and serves until it is stopped.
//
// It runs in two stages under one pid. Stage one, in the host's namespaces, locks the state
// directory, finds out what the host can enforce, and prepares the daemon's own view of its cgroup
// subtree; then it executes itself in there. Stage two serves. On a host that cannot enforce
// limits, strict mode ends in stage one with one line per missing thing, and permissive mode serves
// without a second stage.
//
// The package is long because it wires all other packages together, a file for each part of the
// start.
package daemon
