// Package client speaks to a tsubod over its Unix socket. It needs no right but to open the socket,
// and imports nothing of the daemon.
package client
