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

// orphanAge is how long a zombie must exist before it counts as an orphan. A waiting parent reaps
// its child at once.
const orphanAge = time.Second

// CollectOrphans reaps children that this process inherits as a subreaper and that no code waits
// for, such as helpers that outlive their runsc command. They would otherwise stay zombies.
// CollectOrphans works in the background until stop is called. stop waits for the end, and may be
// called twice. CollectOrphans never takes a child from a waiting goroutine, and costs nothing
// while no child exits.
func CollectOrphans() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var o orphans
		again := time.NewTimer(0) // fires at once, for earlier zombies
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

// orphans records when each zombie was first seen. A zombie keeps its pid, so the pid identifies
// it.
type orphans struct{ seen map[int]time.Time }

// collect reaps the zombies older than orphanAge and reports whether there are younger ones.
func (o *orphans) collect(now time.Time) (more bool) {
	zombies := map[int]time.Time{}
	for _, pid := range zombieChildren() {
		since, known := o.seen[pid]
		if !known {
			since = now
		}
		if known && now.Sub(since) >= orphanAge {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil) // another waiter may have reaped it
			continue
		}
		zombies[pid] = since
	}
	o.seen = zombies
	return len(zombies) > 0
}

// zombieChildren returns the children of this process that have exited and are not reaped yet.
func zombieChildren() []int {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	var pids []int
	for _, list := range lists {
		words, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has exited
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
