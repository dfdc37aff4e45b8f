// Package netns makes the empty network namespaces that runsc is started in, so that nothing of a sandbox ever shares a network
// with the host. (The sentry makes one more for itself inside it.)
//
// A namespace is verified before it is handed out: nothing in it but lo, down, without an address or a route. It is pinned by an
// open file and by nothing else: no name, no mount. When the file is closed and the last process in it has ended, the kernel
// removes it; after a crash of the daemon nothing is left to sweep.
//
// Go schedules goroutines on any thread, so a thread that was in another namespace never goes back to the scheduler: all work in a
// namespace is done on a thread of its own, which ends with it.
package netns
