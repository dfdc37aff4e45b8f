package guest

import (
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

// process is the job's own process with init's ends of its pipes (-1 when closed). Init reads
// stdout and stderr and writes stdin without blocking. The job's ends are ordinary blocking pipes.
type process struct {
	pid                   int // 0 before the start
	pidfd                 int
	stdin, stdout, stderr int
	hook                  int // the parked interpreter's socket, for languages that wait

	ended  bool
	status syscall.WaitStatus
}

// start runs argv as the job's user in a new session, with pipes as descriptors 0, 1 and 2. path is
// the file to execute. If first is not nil, descriptor 3 is an end of the hook's socket, with first
// already in its buffer.
func (g *guest) start(path string, argv, env []string, first []byte) *failure {
	var in, out, err2 [2]int
	for _, p := range []*[2]int{&in, &out, &err2} {
		if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
			return fail(frames.StageSetup, "pipe", err)
		}
	}
	theirs := []int{in[0], out[1], err2[1]}
	g.job = process{stdin: in[1], stdout: out[0], stderr: err2[0], hook: -1, pidfd: -1}
	for _, fd := range []int{g.job.stdin, g.job.stdout, g.job.stderr} {
		if err := syscall.SetNonblock(fd, true); err != nil {
			return fail(frames.StageSetup, "make a pipe non-blocking", err)
		}
	}
	if first != nil {
		ours, hook, err := pair()
		if err != nil {
			return fail(frames.StageSetup, "socketpair", err)
		}
		// first fits: frames limits the list of modules far below a socket's buffer.
		if err := writeAll(ours, first); err != nil {
			return fail(frames.StageSetup, "write to the hook", err)
		}
		g.job.hook = ours
		theirs = append(theirs, hook)
	}
	cwd := g.boot.Cwd
	if !isDir(cwd) {
		if g.boot.CwdRequired {
			return fail(frames.StageExec, "the working directory "+cwd+" is not a directory of the image", nil)
		}
		cwd = "/"
	}
	files := make([]uintptr, len(theirs))
	for i, fd := range theirs {
		files[i] = uintptr(fd)
	}
	unlimited, err := limitAddressSpace(g.boot.AddressSpace)
	if err != nil {
		return fail(frames.StageSetup, "limit the address space", err)
	}
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Dir: cwd, Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: credential(g.boot.UID, g.boot.GID)}})
	for _, fd := range theirs {
		closeFD(&fd)
	}
	if err := unlimited(); err != nil {
		return fail(frames.StageSetup, "limit the address space", err)
	}
	if err != nil {
		return fail(frames.StageExec, "start "+path, err)
	}
	g.job.pid = pid
	if g.job.pidfd, err = pidfdOpen(pid); err != nil {
		return fail(frames.StageSetup, "pidfd_open", err)
	}
	// Block SIGCHLD so that no exit is missed between wait4 and ppoll.
	if err := blockSignal(syscall.SIGCHLD); err != nil {
		return fail(frames.StageSetup, "block signal", err)
	}
	// From here on init only kills, reaps, writes its own files and reads those of others.
	if err := keepOnly(capKill, capDACReadSearch); err != nil {
		return fail(frames.StageSetup, "drop capabilities", err)
	}
	return nil
}

// limitAddressSpace sets the soft RLIMIT_AS, in bytes, that the next process inherits. Zero changes
// nothing. undo restores init's own limit, because the Go runtime reserves more than a small job
// may use. Until then init maps almost nothing, and only within existing reservations.
func limitAddressSpace(n int64) (undo func() error, err error) {
	if n == 0 {
		return func() error { return nil }, nil
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &old); err != nil {
		return nil, err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS,
		&syscall.Rlimit{Cur: min(uint64(n), old.Max), Max: old.Max}); err != nil {
		return nil, err
	}
	return func() error { return syscall.Setrlimit(syscall.RLIMIT_AS, &old) }, nil
}

// lookPath finds name as a shell would, in the PATH of the job's environment.
func lookPath(name string, env []string) (string, bool) {
	for i := range len(name) {
		if name[i] == '/' {
			return name, isExecutable(name)
		}
	}
	path, _ := getenv(env, "PATH")
	for path != "" {
		dir := path
		path = ""
		for i := range len(dir) {
			if dir[i] == ':' {
				dir, path = dir[:i], dir[i+1:]
				break
			}
		}
		if dir == "" || dir[0] != '/' {
			continue // relative to init's directory, not the job's
		}
		if p := dir + "/" + name; isExecutable(p) {
			return p, true
		}
	}
	return "", false
}

// getenv returns the first value of key, as getenv(3) does.
func getenv(env []string, key string) (string, bool) {
	for _, kv := range env {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			return kv[len(key)+1:], true
		}
	}
	return "", false
}

// overlay returns env with every "K=V" of changes set.
func overlay(env, changes []string) []string {
	for _, kv := range changes {
		for i := range len(kv) {
			if kv[i] == '=' {
				env = setenv(env, kv[:i], kv[i+1:])
				break
			}
		}
	}
	return env
}

// setenv returns env with key set exactly once: at its first position, or at the end.
func setenv(env []string, key, value string) []string {
	out := make([]string, 0, len(env)+1)
	done := false
	for _, kv := range env {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			if done {
				continue
			}
			kv, done = key+"="+value, true
		}
		out = append(out, kv)
	}
	if !done {
		out = append(out, key+"="+value)
	}
	return out
}
