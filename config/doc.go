// Package config makes one checked value out of tsubod's configuration file and the environment.
//
// A key is known here, bound here and bounded here, once: the file and the variable TSUBO_<KEY> go
// through the same reader. A key that is accepted works; one of the upstream system's that does not
// is refused by its name, with what replaces it (wire.md ruling 12). All that is wrong is reported
// at once, each as "field <path>: <what, and the fix>", and never with the value that was written.
//
// The package is long because it has one binding, one bound and one error with its fix for each
// key.
package config
