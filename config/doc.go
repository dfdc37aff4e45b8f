// Package config loads tsubod's configuration file and environment into a single checked value.
//
// Each key is declared, bound and limited once. The file and the variable TSUBO_<KEY> go through
// the same reader. An accepted key always takes effect. An upstream key without effect is refused
// by name, together with its replacement (wire.md ruling 12). Load reports all problems at once,
// each as "field <path>: <problem and fix>", and never repeats the configured value.
//
// The package is long because each key has a binding, a range and an error with its fix.
package config
