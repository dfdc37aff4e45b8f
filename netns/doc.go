// Package netns creates the empty network namespaces in which runsc starts, so that a sandbox never
// shares a network with the host. (The sentry creates another namespace inside.)
//
// A namespace is verified before use: it contains only lo, which is down and has no addresses or
// routes. Only an open file pins it, neither a name nor a mount. When the file is closed and the
// last process in the namespace has exited, the kernel removes the namespace. A crash of the daemon
// leaves nothing to sweep.
//
// Go runs goroutines on any thread, so a thread that has entered another namespace must never
// return to the scheduler. All work in a namespace runs on its own thread, which exits afterwards.
package netns
