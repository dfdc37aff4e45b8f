package netns

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs fn on an OS thread that no other goroutine ever runs on and that ends with fn, and waits for it. It is never the
// process's main thread, whose namespaces are what /proc/PID shows and what cannot be thrown away.
func onOwnThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() != os.Getpid() {
			defer close(result) // also when fn ends the goroutine (runtime.Goexit)
			result <- fn()
			return
		}
		// This is the main thread. While it is held here, another goroutine is sure to get another one.
		result <- onOwnThread(fn)
		runtime.UnlockOSThread()
	}()
	err, ok := <-result
	if !ok {
		return errEnded
	}
	return err
}
