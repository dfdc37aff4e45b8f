// Package guesttest runs tsubo-init for tests, without tsubod: in fresh namespaces of this host,
// where a test takes milliseconds, or under runsc, where the kernel is the one that jobs really
// meet. The root is made of read-only binds of the host's own directories. It speaks frames as the
// daemon does and keeps everything that comes back.
package guesttest
