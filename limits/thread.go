package limits

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs fn on a dedicated OS thread that exits with fn. It never uses the process's main
// thread, whose namespaces appear in /proc/PID and which cannot be discarded. It does not wait for
// fn.
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
