// Package api is tsubo's HTTP surface: the wire contract over the Unix socket and TCP. It decodes
// strictly, knows the caller by the peer's credentials or a key, checks everything before anything
// runs, and turns refusals and results into the contract's bodies. The contract is openapi.yaml, to
// which the tests hold every route. It declares the interfaces that it needs and imports no other
// package of this module but job.
//
// It is long because the surface is one handler with one set of rules for all its routes: a file
// for each group of them, and files for the steps that every request takes.
package api
