package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/tests/hoststate"
)

// Where the daemon is on its host.
const (
	runDir = "/run/tsubo-crash"
	cgroup = "/sys/fs/cgroup/tsubo-crash"
)

// bound is for what would otherwise hang a round; the VM is emulated.
const bound = 4 * time.Minute

// tsubod is one life of the daemon.
type tsubod struct {
	*client
	cmd     *exec.Cmd
	log     *os.File
	dir     string
	config  string // file
	started time.Time
	killed  atomic.Bool
	exited  chan error
}

// imported are the folders of data_dir that hold images. They are shared by all, because importing
// takes long under emulation.
var imported = []string{"rootfs", "images"}

// startTsubod starts a daemon with its state in dir, and returns once it is healthy.
func startTsubod(dir, seeds string) (d *tsubod, err error) {
	data := filepath.Join(dir, "data")
	for _, sub := range imported {
		if seeds == "" {
			break
		}
		for _, folder := range []string{filepath.Join(seeds, "data", sub), filepath.Join(data, sub)} {
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return nil, err
			}
		}
		if _, err := command("mount", "--bind", filepath.Join(seeds, "data", sub), filepath.Join(data, sub)); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "tsubo.yaml")
	text := fmt.Sprintf(`data_dir: %s
run_dir: %s
cgroup_parent: /tsubo-crash
max_queue_size: 5000
max_workers: 2
pool_enabled: false
images:
  preload_dirs: [/opt/tsubo/images]
job_types:
  - name: small
    memory_limit: 64m
  - name: again
    memory_limit: 64m
    retry_on_interrupt: true
`, data, runDir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	d = &tsubod{client: newClient(runDir + "/tsubo.sock"), dir: dir, config: config, started: time.Now(), exited: make(chan error, 1)}
	if d.log, err = os.CreateTemp("", "tsubod-log-"); err != nil {
		return nil, err
	}
	d.cmd = exec.Command("tsubod", "--config", config)
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.exited <- d.cmd.Wait() }()
	for deadline := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
		if status, _, err := d.get("/health"); err == nil && status == 200 {
			return d, nil
		}
		select {
		case err := <-d.exited:
			return nil, fmt.Errorf("tsubod ended: %w\n%s", err, d.logText())
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("tsubod does not become healthy\n%s", d.logText()), d.kill())
		}
	}
}

func (d *tsubod) logText() string {
	text, _ := os.ReadFile(d.log.Name())
	if over := len(text) - 8000; over > 0 {
		text = text[over:]
	}
	return string(text)
}

// kill ends the daemon as the kernel's OOM killer would: it has no say in it, and its sandboxes go
// on.
func (d *tsubod) kill() error {
	d.killed.Store(true)
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// wipe ends everything that the daemon started, and the daemon, so that nothing keeps its disk
// busy.
func (d *tsubod) wipe() error {
	d.killed.Store(true)
	if err := os.WriteFile(cgroup+"/cgroup.kill", []byte("1"), 0); err != nil {
		return err
	}
	if err := <-d.exited; err == nil {
		return errors.New("tsubod ended by itself")
	}
	return d.leave()
}

// stop ends the daemon as an operator does.
func (d *tsubod) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-d.exited:
		if err != nil {
			return fmt.Errorf("tsubod did not stop well: %w\n%s", err, d.logText())
		}
		return d.leave()
	case <-time.After(bound):
		return errors.Join(fmt.Errorf("tsubod does not stop\n%s", d.logText()), d.kill())
	}
}

// leave undoes what startTsubod did around the daemon, which has ended.
func (d *tsubod) leave() error {
	errs := []error{d.log.Close(), os.Remove(d.log.Name())}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	errs = append(errs, err)
	for _, sub := range imported {
		if folder := filepath.Join(d.dir, "data", sub); strings.Contains(string(mounts), " "+folder+" ") {
			errs = append(errs, unmount(folder))
		}
	}
	return errors.Join(errs...)
}

func (d *tsubod) where() hoststate.Where {
	return hoststate.Where{PID: d.cmd.Process.Pid, RunDir: runDir, JobsPath: cgroup + "/jobs"}
}

// seed imports the images once, by a daemon of its own in the folder, and keeps what a daemon that
// does nothing holds on its host.
func seed(seeds string) error {
	kept := filepath.Join(seeds, "idle.json")
	if _, err := os.Stat(kept); err == nil {
		return nil
	}
	if err := os.MkdirAll(seeds, 0o700); err != nil {
		return err
	}
	d, err := startTsubod(seeds, "")
	if err != nil {
		return fmt.Errorf("import the images: %w", err)
	}
	idle, err := hoststate.Take(d.where())
	if err := errors.Join(err, d.stop()); err != nil {
		return err
	}
	text, err := json.Marshal(idle)
	if err != nil {
		return err
	}
	if err := os.WriteFile(kept, text, 0o600); err != nil {
		return err
	}
	syscall.Sync() // the power will be cut, and this is not what is tested
	return nil
}

// nothingLeft compares what an idle daemon holds on its host with what one held that never ran a
// job.
func (d *tsubod) nothingLeft(seeds string) error {
	text, err := os.ReadFile(filepath.Join(seeds, "idle.json"))
	if err != nil {
		return err
	}
	var idle hoststate.State
	if err := json.Unmarshal(text, &idle); err != nil {
		return err
	}
	d.http.CloseIdleConnections()
	idle.Mounts = 1 << 20 // the images are mounted here and not there
	now, err := hoststate.Settle(d.where(), idle, 8, bound/4)
	if err != nil {
		return err
	}
	if grown := hoststate.Grown(idle, now, 8); len(grown) > 0 {
		return fmt.Errorf("left on the host: %s", strings.Join(grown, ", "))
	}
	return nil
}

// tsubodMain is one start of a tsubod: what an earlier one left is checked, then it is loaded.
func tsubodMain(o startOptions) error {
	if o.seeds == "" {
		return errors.New("-seeds is missing")
	}
	if err := seed(o.seeds); err != nil {
		return err
	}
	before, err := readLedger(o.before)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	clock, laps := time.Now(), "  seconds:"
	lap := func(what string) {
		laps += fmt.Sprintf(" %s %.1f", what, time.Since(clock).Seconds())
		clock = time.Now()
	}
	defer func() { fmt.Fprintln(os.Stderr, laps) }()
	d, err := startTsubod(o.dir, o.seeds)
	if err != nil {
		return err
	}
	lap("start")
	l := o.ledger(func() {
		if err := d.kill(); err != nil {
			fatal("kill tsubod: %v", err)
		}
	})
	err = checkTsubod(d, before, o, l)
	lap("check")
	if err == nil && o.load > 0 {
		l.say(sayLoading)
		if err = loadTsubod(context.Background(), d, o, l); err == nil {
			l.say(sayDone)
		}
		lap("load")
	}
	switch {
	case err != nil:
		return errors.Join(fmt.Errorf("%w\nThe end of tsubod's log:\n%s", err, d.logText()), d.wipe())
	case o.kill > 0:
		if err := <-d.exited; err == nil {
			return errors.New("tsubod ended by itself")
		}
		return d.leave()
	case o.mark != "":
		return d.wipe()
	case o.load > 0: // the power will be cut
		return nil
	}
	return d.stop()
}
