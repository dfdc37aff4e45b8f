// Package tsubod starts a tsubod of a program's own, with state of its own, and measures it from
// outside: for `make bench` and `make soak`.
package tsubod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/tests/procs"
)

// Options of one daemon.
type Options struct {
	Name   string // a short word, for its folders and its cgroup
	Bin    string // tsubod
	Init   string // tsubo-init
	Runsc  string
	Images string // an OCI layout, which gives its folder's name to the image, or a folder of them
	Dir    string // for everything that the daemon keeps; short, because the socket lies in it
	Strict bool   // refuse to serve without cgroup leaves
	Config string // more lines of its configuration
	Env    []string
}

// Daemon is a tsubod that serves.
type Daemon struct {
	Socket, RunDir, DataDir string

	opt   Options
	cmd   *exec.Cmd
	log   buffer
	ended chan struct{} // closed once it is collected
}

// CanEnforce reports whether this host has all that strict mode wants.
func CanEnforce() bool { return os.Geteuid() == 0 && len(limits.Probe("/tsubo-bench").Missing()) == 0 }

// cgroup is where the daemon's leaves are, on a host that has them.
func (o Options) cgroup() string { return "/tsubo-" + o.Name }

// JobsCgroup is the host's path of the folder of the leaves, "" on a host without.
func (d *Daemon) JobsCgroup() string {
	if !d.opt.Strict {
		return ""
	}
	return "/sys/fs/cgroup" + d.opt.cgroup() + "/jobs"
}

func (o Options) config() string {
	dir := filepath.Join(o.Dir, o.Name)
	mode := "permissive"
	if o.Strict {
		mode = "strict\ncgroup_parent: " + o.cgroup()
	}
	return fmt.Sprintf("data_dir: %s/data\nrun_dir: %s/run\nsecurity_mode: %s\nrunsc_path: %s\ninit_path: %s\nimages:\n  preload_dirs: [%s]\n%s",
		dir, dir, mode, o.Runsc, o.Init, o.Images, o.Config)
}

// write puts the configuration in its place.
func (o Options) write() (file string, err error) {
	dir := filepath.Join(o.Dir, o.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nothing of it is secret, and a waiting job's root is below it
		return "", fmt.Errorf("make a folder for tsubod: %w", err)
	}
	file = filepath.Join(dir, "tsubo.yaml")
	if err := os.WriteFile(file, []byte(o.config()), 0o600); err != nil {
		return "", fmt.Errorf("write tsubod's configuration: %w", err)
	}
	return file, nil
}

// Start returns once the daemon serves. A daemon that was killed may be started again in the same
// place, and then sweeps what it left.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	file, err := o.write()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(file)
	d := &Daemon{RunDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"), opt: o, ended: make(chan struct{})}
	d.Socket = filepath.Join(d.RunDir, "tsubo.sock")
	d.cmd = exec.Command(o.Bin, "--config", file)
	d.cmd.Stderr = &d.log
	d.cmd.Env = append(os.Environ(), o.Env...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // as a service manager does it; and a ^C is for whoever started it, who then stops it
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start tsubod: %w", err)
	}
	go func() {
		_ = d.cmd.Wait() // asked for by its state
		close(d.ended)
	}()
	c := client.New(d.Socket)
	defer c.Close()
	for {
		if _, err := c.Health(ctx); err == nil {
			return d, nil
		}
		select {
		case <-d.ended:
			return nil, fmt.Errorf("tsubod did not start: %s\n%s", d.cmd.ProcessState, d.log.tail())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("start tsubod: %w\n%s", ctx.Err(), d.log.tail()), d.Stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// PID of the daemon.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Log is what the daemon has written.
func (d *Daemon) Log() string { return d.log.String() }

// stopBound is longer than the daemon gives the jobs that run.
const stopBound = time.Minute

// Stop ends the daemon the way an operator does, a second time if it takes long, and removes its
// folders and its cgroup. It may be called twice.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(time.Second):
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // a second one interrupts the jobs
		select {
		case <-d.ended:
		case <-time.After(stopBound):
			_ = d.cmd.Process.Kill()
			<-d.ended
			return fmt.Errorf("tsubod did not stop within %v\n%s", stopBound, d.log.tail())
		}
	}
	var err error
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		err = fmt.Errorf("tsubod ended with %s\n%s", d.cmd.ProcessState, d.log.tail())
	}
	if d.opt.Strict {
		for _, name := range []string{"/jobs", "/daemon", ""} {
			_ = os.Remove("/sys/fs/cgroup" + d.opt.cgroup() + name) // an rmdir: what holds anything stays
		}
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(d.RunDir)))
}

// Dump ends the daemon by SIGQUIT and returns what it wrote then: the stacks of all its goroutines,
// if it was started with GOTRACEBACK=all. What it held stays until it is started again.
func (d *Daemon) Dump() (string, error) {
	before := len(d.log.String())
	if err := d.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return "", fmt.Errorf("end tsubod: %w", err)
	}
	select {
	case <-d.ended:
		return d.log.String()[before:], nil
	case <-time.After(stopBound):
		return "", fmt.Errorf("tsubod did not end by SIGQUIT within %v", stopBound)
	}
}

// Sandbox is the processes of one sandbox of the daemon.
type Sandbox struct {
	Bundle string
	Tree   []procs.Process // the first is the sentry or the gofer
}

// look is the daemon's processes and, of these, its sandboxes. A sandbox counts from its first
// process, before its bundle says anything.
func (d *Daemon) look() (tree []procs.Process, boxes []Sandbox, err error) {
	all, err := procs.List()
	if err != nil {
		return nil, nil, err
	}
	tree = procs.Tree(all, d.PID())
	at := map[string]int{}
	for _, p := range tree {
		bundle := bundleOf(procs.Args(p.PID), filepath.Join(d.RunDir, "runsc"))
		if bundle == "" {
			continue
		}
		i, known := at[bundle]
		if !known {
			i = len(boxes)
			at[bundle], boxes = i, append(boxes, Sandbox{Bundle: bundle})
		}
		if parentIn(boxes[i].Tree, p) {
			continue // counted below it
		}
		boxes[i].Tree = append(boxes[i].Tree, procs.Tree(all, p.PID)...)
	}
	return tree, boxes, nil
}

func parentIn(tree []procs.Process, p procs.Process) bool {
	return slices.ContainsFunc(tree, func(q procs.Process) bool { return q.PID == p.PID })
}

// bundleOf is the bundle that a runsc sandbox or gofer process of that root was started with, ""
// for any other process.
func bundleOf(args []string, root string) string {
	if len(args) == 0 || !strings.HasPrefix(filepath.Base(args[0]), "runsc-") || !slices.Contains(args, "--root="+root) {
		return ""
	}
	for i, a := range args {
		if bundle, ok := strings.CutPrefix(a, "--bundle="); ok {
			return bundle
		}
		if a == "--bundle" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// Sandboxes are those that have processes now.
func (d *Daemon) Sandboxes() ([]Sandbox, error) {
	_, boxes, err := d.look()
	return boxes, err
}

// CPU is what the daemon and its sandboxes, also those that are gone, have used since its start.
func (d *Daemon) CPU() (time.Duration, error) {
	all, err := procs.List()
	if err != nil {
		return 0, err
	}
	return procs.CPU(procs.Tree(all, d.PID())), nil
}

// How a quiet daemon is known: two looks in a row, so far apart, that see next to no CPU used
// between them.
const (
	quietEvery = 25 * time.Millisecond
	quietCPU   = 10 * time.Millisecond
)

// Settle returns once the daemon and its sandboxes do nothing: what waits has booted, and what is
// over has been cleared away. It gives up, without an error, after the bound.
func (d *Daemon) Settle(ctx context.Context, bound time.Duration) error {
	var before time.Duration
	for deadline, calm := time.Now().Add(bound), 0; calm < 2 && time.Now().Before(deadline); {
		now, err := d.CPU()
		if err != nil {
			return err
		}
		calm++
		if now-before > quietCPU {
			calm = 0
		}
		before = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietEvery):
		}
	}
	return nil
}

// buffer keeps the end of what is written to it, and may be read meanwhile.
type buffer struct {
	mu   sync.Mutex
	data []byte
}

const maxLog = 8 << 20

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	if len(b.data) > 2*maxLog {
		b.data = append(b.data[:0], b.data[len(b.data)-maxLog:]...)
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}

// tail is the last lines.
func (b *buffer) tail() string {
	text := b.String()
	return text[max(0, len(text)-2000):]
}
