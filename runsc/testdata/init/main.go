// Command init is PID 1 of a test sandbox: it answers one-line requests on the socket that is its stdin.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

func answer(line string) string {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "hello":
		var env string
		if all := os.Environ(); len(all) > 0 {
			slices.Sort(all) // the sentry keeps no order
			env = fmt.Sprint(" env ", all)
		}
		host, _ := os.Hostname()
		return fmt.Sprintf("pid %d uid %d host %s%s", os.Getpid(), os.Getuid(), host, env)
	case "create":
		f, err := os.OpenFile(arg, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
		if err == nil {
			_, err = f.WriteString("x")
			_ = f.Close()
		}
		return fmt.Sprint(err)
	case "open":
		f, err := os.OpenFile(arg, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteString("x")
			_ = f.Close()
		}
		return fmt.Sprint(err)
	case "read":
		data, err := os.ReadFile(arg)
		if err != nil {
			return fmt.Sprint(err)
		}
		return fmt.Sprintf("%q", data)
	case "size":
		var st syscall.Statfs_t
		err := syscall.Statfs(arg, &st)
		return fmt.Sprint(st.Blocks*uint64(st.Bsize), err)
	case "ptrace": // EPERM under the filter, ESRCH without
		_, _, errno := syscall.RawSyscall(syscall.SYS_PTRACE, syscall.PTRACE_ATTACH, 1<<31-1, 0)
		return errno.Error()
	case "patch":
		n, _ := strconv.Atoi(arg)
		for i := range n {
			if err := exec.Command("/proc/self/exe", "calls").Run(); err != nil {
				return fmt.Sprint(i, " ", err)
			}
		}
		return fmt.Sprint(n)
	}
	return "what?"
}

// manyCalls makes a system call at each of some hundred places in the program's code.
func manyCalls()

// together has three threads make their first calls at the same places at the same time.
func together() {
	runtime.GOMAXPROCS(4)
	const threads = 3
	var ready atomic.Int32
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			runtime.LockOSThread()
			for ready.Add(1); ready.Load() < threads; {
			}
			manyCalls()
			manyCalls()
		})
	}
	all.Wait()
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "calls" {
		together()
		return
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Fprintln(os.Stdin, answer(in.Text())) // the socket goes both ways
	}
}
