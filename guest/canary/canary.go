// Package canary is the job that proves a sandbox when tsubod starts. It tries forbidden
// operations, prints each result as a line on stdout, and finally allocates more memory than its
// limit. It makes no decisions; package sandbox does.
package canary

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Bite is the first argument of a canary whose memory is limited. Without a limit the canary would
// use up the host's memory.
const Bite = "bite"

// Main prints each result as soon as it is known. If the first argument is [Bite], it then
// allocates memory until it is killed. Each further argument is a system call to make, as a number
// and up to six arguments joined by ":".
//
// Lines are "<key> <value>" with these keys: status (of /proc/self/status), call (argument index,
// errno), write, connect, iface, memory and nproc. Errno 0 means that the call succeeded. "ready"
// is the last line before the allocation. "survived" must never appear.
func Main(args []string) {
	bite := len(args) > 0 && args[0] == Bite
	args = args[min(1, len(args)):]
	line := func(words ...string) { _, _ = os.Stdout.WriteString(strings.Join(words, " ") + "\n") }
	reportStatus(line)
	for i, a := range args {
		line("call", strconv.Itoa(i), errno(call(a)))
	}
	line("write", errno(write("/open/x")))
	line("connect", errno(connect([4]byte{1, 1, 1, 1}, 443)))
	reportInterfaces(line)
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		line("memory", strconv.FormatUint(info.Totalram*uint64(info.Unit), 10))
	}
	var nproc syscall.Rlimit
	const rlimitNPROC = 6
	if syscall.Getrlimit(rlimitNPROC, &nproc) == nil {
		line("nproc", strconv.FormatUint(nproc.Max, 10))
	}
	line("ready")
	if bite {
		takeMemory(info.Totalram * uint64(info.Unit))
		line("survived")
	}
}

func errno(err error) string {
	if err == nil {
		return "0"
	}
	if e := syscall.Errno(0); errors.As(err, &e) {
		return strconv.Itoa(int(e))
	}
	return "-1"
}

func reportStatus(line func(...string)) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for _, l := range strings.Split(string(status), "\n") {
		key, value, _ := strings.Cut(l, ":")
		switch key {
		case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
			line("status", key, strings.Join(strings.Fields(value), ","))
		}
	}
}

func call(words string) error {
	var n [7]uintptr
	for i, w := range strings.SplitN(words, ":", len(n)) {
		v, err := strconv.ParseUint(w, 10, 64)
		if err != nil {
			return err
		}
		n[i] = uintptr(v)
	}
	_, _, e := syscall.Syscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
	if e == 0 {
		return nil
	}
	return e
}

func write(path string) error {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return syscall.Close(fd)
}

func connect(ip [4]byte, port int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: ip})
}

func reportInterfaces(line func(...string)) {
	dev, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return
	}
	for _, l := range strings.Split(string(dev), "\n") {
		if name, _, ok := strings.Cut(l, ":"); ok {
			line("iface", strings.TrimSpace(name))
		}
	}
}

// takeMemory touches twice the machine's total memory.
func takeMemory(total uint64) {
	const chunk = 4 << 20
	for taken := uint64(0); taken < 2*total; taken += chunk {
		b, err := syscall.Mmap(-1, 0, chunk, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return
		}
		for i := 0; i < chunk; i += 4096 {
			b[i] = 1
		}
	}
}
