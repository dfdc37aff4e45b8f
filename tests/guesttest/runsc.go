package guesttest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type object = map[string]any

// runsc writes a bundle by hand, with what the daemon's bundles have that matters to init, and
// returns the command that runs it.
func (s *Sandbox) runsc(o Options, guest string) *exec.Cmd {
	t := s.t
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(root, d), public); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []object{{"destination": "/proc", "type": "proc", "source": "proc"}}
	bind := func(source, target string) {
		if err := mountPoint(source, root+target); err != nil {
			t.Fatal(err)
		}
		mounts = append(mounts, object{"destination": target, "type": "bind", "source": source, "options": []string{"ro", "rbind"}})
	}
	for _, b := range o.binds() {
		bind(b[0], b[1])
	}
	bind(guest, "/.tsubo")
	for _, m := range [][2]string{{"/code", "mode=0755"}, {"/input", "mode=0755"}, {"/output", "mode=0777,uid=1000,gid=1000,size=64m"},
		{"/tmp", "mode=1777,size=64m"}} {
		options := append([]string{"noexec", "nosuid", "nodev"}, strings.Split(m[1], ",")...)
		mounts = append(mounts, object{"destination": m[0], "type": "tmpfs", "source": "tmpfs", "options": options})
	}
	caps := []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_CHOWN", "CAP_DAC_READ_SEARCH"}
	limit := func(name string, soft, hard uint64) object { return object{"type": name, "soft": soft, "hard": hard} }
	config := object{
		"ociVersion": "1.0.0",
		"hostname":   "sandbox",
		"root":       object{"path": "root", "readonly": true},
		"mounts":     mounts,
		"process": object{
			"args": []string{"/.tsubo/tsubo-init"}, "cwd": "/", "env": initEnv, "user": object{"uid": 0, "gid": 0}, "noNewPrivileges": true,
			"capabilities": object{"bounding": caps, "effective": caps, "permitted": caps},
			"rlimits": []object{limit("RLIMIT_NPROC", LimitNPROC, LimitNPROC), limit("RLIMIT_NOFILE", LimitNOFILE, LimitNOFILEHard),
				limit("RLIMIT_FSIZE", LimitFSIZE, LimitFSIZE), limit("RLIMIT_CORE", 0, 0)},
		},
		"linux": object{"namespaces": []object{{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "network"}, {"type": "uts"}}},
	}
	b, err := json.Marshal(config)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	id := fmt.Sprintf("guesttest-%d-%d", os.Getpid(), time.Now().UnixNano())
	flags := []string{"--root", state, "--ignore-cgroups", "--network=none", "--platform=systrap", "--overlay2=none", "--file-access-mounts=shared"}
	cmd := exec.Command(o.Runsc, append(flags, "run", "-bundle", dir, id)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	t.Cleanup(func() {
		// Runs after Close, unless the test failed half-way: nothing of the sandbox may stay.
		_ = exec.Command(o.Runsc, "--root", state, "delete", "--force", id).Run()
		// runsc keeps a network namespace mounted here for --network=none.
		_ = unix.Unmount(filepath.Join(state, "null-netns"), unix.MNT_DETACH)
	})
	return cmd
}
