package netns

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs fn on an OS thread that no other goroutine uses, and waits for fn. The thread
// exits with fn. It is never the process's main thread, whose namespaces /proc/PID shows and which
// cannot exit.
func onOwnThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so the thread exits with the goroutine
		if unix.Gettid() != os.Getpid() {
			defer close(result) // also when fn ends the goroutine (runtime.Goexit)
			result <- fn()
			return
		}
		// This is the main thread. While it is locked here, another goroutine gets another thread.
		result <- onOwnThread(fn)
		runtime.UnlockOSThread()
	}()
	err, ok := <-result
	if !ok {
		return errEnded
	}
	return err
}
