// Package api is tsubo's HTTP surface: the wire contract over the Unix socket. It decodes strictly, knows the caller by the peer's
// credentials, checks everything before anything runs, and turns refusals and results into the contract's bodies. It declares the
// interfaces that it needs and imports no other package of this module but job.
package api
