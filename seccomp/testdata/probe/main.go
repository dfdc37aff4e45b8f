// Command probe is PID 1 of a test sandbox. It makes the raw system calls that it reads from stdin, as uid 1000, and prints what
// each answered.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"
)

// call is one raw system call. An argument is a number, or -1000 for a pointer to a zeroed page, or -1001 for a pointer to Path.
type call struct {
	Nr   uintptr  `json:"nr"`
	Args [6]int64 `json:"args"`
	Path string   `json:"path"`
}

// do makes the call and returns its errno, 0 when it succeeded.
func do(c call) syscall.Errno {
	runtime.LockOSThread()
	page := make([]byte, 4096)
	path := append([]byte(c.Path), 0)
	var a [6]uintptr
	for i, v := range c.Args {
		switch v {
		case -1000:
			a[i] = uintptr(unsafe.Pointer(&page[0]))
		case -1001:
			a[i] = uintptr(unsafe.Pointer(&path[0]))
		default:
			a[i] = uintptr(v)
		}
	}
	_, _, errno := syscall.RawSyscall6(c.Nr, a[0], a[1], a[2], a[3], a[4], a[5])
	runtime.KeepAlive(page)
	runtime.KeepAlive(path)
	return errno
}

func main() {
	if len(os.Args) > 1 { // the child: all calls of stdin, in this one process
		var calls []call
		if err := json.NewDecoder(os.Stdin).Decode(&calls); err != nil {
			fmt.Fprintln(os.Stderr, "decode:", err)
			os.Exit(2)
		}
		for _, c := range calls {
			fmt.Println(int(do(c)))
		}
		return
	}
	var batches [][]call
	if err := json.NewDecoder(os.Stdin).Decode(&batches); err != nil {
		fmt.Fprintln(os.Stderr, "decode:", err)
		os.Exit(2)
	}
	for _, batch := range batches {
		in, err := json.Marshal(batch)
		if err != nil {
			panic(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		go func() { _, _ = w.Write(in); _ = w.Close() }()
		cmd := exec.Command("/probe", "child")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = r, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
		if err := cmd.Run(); err != nil {
			fmt.Println("child:", err)
		}
		_ = r.Close()
	}
}
