package runsc

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// orphanAge is how long a child must have been dead before it counts as nobody's: whoever waits for its own child collects it at once.
const orphanAge = time.Second

// CollectOrphans collects the children that became this process's because it is a subreaper and that nobody waits for, such as helpers
// that outlive their runsc command; without it they would stay as zombies. It works in the background until stop is called, which
// waits, and may come twice. It never takes a child that somebody is waiting for, and costs nothing while no child ends.
func CollectOrphans() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var o orphans
		again := time.NewTimer(0) // those from before
		defer again.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ended:
				again.Reset(orphanAge)
			case now := <-again.C:
				if o.collect(now) {
					again.Reset(orphanAge)
				}
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(ended)
		close(quit)
		<-done
	})
}

// orphans remembers since when it has seen which zombie. A zombie keeps its pid, so the number alone says which one it is.
type orphans struct{ seen map[int]time.Time }

// collect takes the zombies that are old enough, and reports whether there are younger ones.
func (o *orphans) collect(now time.Time) (more bool) {
	zombies := map[int]time.Time{}
	for _, pid := range zombieChildren() {
		since, known := o.seen[pid]
		if !known {
			since = now
		}
		if known && now.Sub(since) >= orphanAge {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil) // somebody else may have been quicker
			continue
		}
		zombies[pid] = since
	}
	o.seen = zombies
	return len(zombies) > 0
}

// zombieChildren lists the children of this process that have ended and have not been collected.
func zombieChildren() []int {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	var pids []int
	for _, list := range lists {
		words, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, word := range bytes.Fields(words) {
			pid, err := strconv.Atoi(string(word))
			if err != nil {
				continue
			}
			stat, err := os.ReadFile("/proc/" + string(word) + "/stat")
			// The state follows the command, which ends with the last ")".
			if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 && bytes.HasPrefix(stat[i+1:], []byte(" Z")) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
