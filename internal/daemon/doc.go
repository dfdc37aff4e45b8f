// Package daemon implements tsubod. It reads the configuration, takes ownership of its host
// resources, verifies that sandboxes isolate, wires the packages together and serves until it is
// stopped.
//
// The daemon runs in two stages under the same pid. Stage one, in the host's namespaces, locks the
// state directory, probes what the host can enforce, and prepares the daemon's own view of its
// cgroup subtree. It then re-executes itself inside that view. Stage two serves. On a host that
// cannot enforce limits, strict mode fails in stage one with an error per missing feature, and
// permissive mode serves without a second stage.
//
// The package is long because it wires all other packages together. Each file holds one verb or one
// object: daemon.go starts and closes, reload.go handles SIGHUP, listen.go opens the sockets,
// selftest.go runs the canary.
package daemon
