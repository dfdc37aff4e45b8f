package limits

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs fn on an OS thread that no other goroutine ever runs on and that ends with fn.
// It is never the process's main thread, whose namespaces are what /proc/PID shows and what cannot
// be thrown away. It does not wait for fn.
func onOwnThread(fn func()) {
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() != os.Getpid() {
			fn()
			return
		}
		// This is the main thread. While it is held here, another goroutine is sure to get another
		// one.
		started := make(chan struct{})
		onOwnThread(func() { close(started); fn() })
		<-started
		runtime.UnlockOSThread()
	}()
}
